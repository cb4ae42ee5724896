//! Length buckets, exact counts, stop strings.

use super::*;

fn rng() -> Rng {
    Rng::with_seed(5)
}

#[test]
fn bucket_vectors() {
    assert_eq!(buckets(500), [(1, 20), (21, 40), (41, 60), (61, 480), (481, 499)]);
    assert_eq!(buckets(47), [(1, 9), (10, 18), (19, 27), (28, 36), (37, 46)]);
    assert_eq!(buckets(50), [(1, 9), (10, 19), (20, 29), (30, 39), (40, 49)]);
    for max in 7..2000 {
        let mut next = 1;
        for (low, high) in buckets(max) {
            assert!(low == next && low <= high && high < max, "{max}: {low}-{high}");
            next = high + 1;
        }
        assert_eq!(next, max);
    }
}

#[test]
fn lengths_keep_to_the_limit_and_say_when_they_reach_it() {
    let mut rng = rng();
    assert_eq!(length(Some(70), true, 1000, &mut rng), (70, Finish::Length));
    assert_eq!(length(Some(1), false, 1000, &mut rng), (1, Finish::Length));
    let mut full = 0;
    for _ in 0..10_000 {
        let (tokens, finish) = length(Some(100), false, 1000, &mut rng);
        assert!((1..=100).contains(&tokens));
        assert_eq!(finish == Finish::Length, tokens == 100);
        full += u32::from(tokens == 100);
    }
    assert!((1400..1600).contains(&full), "15 % use all: {full}");
}

#[test]
fn lengths_without_a_limit_fit_the_room() {
    let mut rng = rng();
    let lengths: Vec<u32> = (0..5000).map(|_| length(None, false, 900, &mut rng).0).collect();
    let mean = lengths.iter().sum::<u32>() as f64 / 5000.0;
    assert!((40.0..43.0).contains(&mean), "{mean}");
    for room in [1, 5, 19, 20, 30] {
        assert!((0..500).all(|_| (1..=room).contains(&length(None, false, room, &mut rng).0)));
    }
}

#[test]
fn sentences_have_exactly_the_tokens_asked_for() {
    for tokens in [1, 2, 17, 400] {
        let answer = Answer::sentences(tokens, Finish::Stop, &mut rng());
        assert_eq!(answer.tokens(), tokens);
        assert_eq!(tokenizer::pieces(answer.text()).count(), tokens as usize, "they read back as the same tokens");
        assert_eq!((0..tokens).map(|i| answer.piece(i)).collect::<String>(), answer.text());
    }
    assert_eq!(Answer::sentences(9, Finish::Stop, &mut rng()), Answer::sentences(9, Finish::Stop, &mut rng()));
}

#[test]
fn echo_says_all_of_the_text() {
    for text in ["Hello, how are you?", "  `a` | b\u{7} é", "||a||b||", "", "日 本 "] {
        let answer = Answer::echo(text, None);
        assert_eq!(answer.text(), text);
        assert_eq!((0..answer.tokens()).map(|i| answer.piece(i)).collect::<String>(), text);
        assert_eq!(answer.tokens() as usize, tokenizer::pieces(text).count().max(1));
    }
    assert_eq!(Answer::echo("a b", Some(3)).finish, Finish::Stop);
    let trimmed = Answer::echo("a b c", Some(2));
    assert_eq!((trimmed.tokens(), trimmed.finish), (3, Finish::Length));
}

#[test]
fn a_stop_string_ends_the_answer_before_it() {
    let text = "one two, three four";
    let mut answer = Answer::echo(text, None);
    answer.cut(&["nowhere".to_owned(), String::new()], false);
    assert_eq!((answer.text(), answer.tokens()), (text, 5));

    answer.cut(&["four".to_owned(), "o, th".to_owned()], false);
    assert_eq!(answer.text(), "one tw");
    assert_eq!((answer.tokens(), answer.finish), (4, Finish::Stop));
    assert_eq!((0..4).map(|i| answer.piece(i)).collect::<Vec<_>>(), ["one ", "tw", "", ""]);
    assert_eq!(answer.stopped_by.as_deref(), Some("o, th"));

    let mut answer = Answer::echo(text, None);
    answer.cut(&[", ".to_owned()], true);
    assert_eq!((answer.text(), answer.tokens()), ("one two, ", 3));
}
