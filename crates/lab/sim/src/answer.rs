//! What a worker says: lengths and texts of answers.

use std::sync::LazyLock;

use fastrand::Rng;

use crate::tokenizer;

#[cfg(test)]
mod tests;

/// Why an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finish {
    Stop,
    Length,
}

impl Finish {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// A whole answer, of which the engine releases one token after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    text: String,
    /// Where each token's text ends.
    ends: Vec<u32>,
    pub(crate) finish: Finish,
    /// The stop string that ended it.
    pub(crate) stopped_by: Option<String>,
}

impl Answer {
    /// Sentences of exactly `tokens` tokens.
    pub(crate) fn sentences(tokens: u32, finish: Finish, rng: &mut Rng) -> Self {
        let mut answer = Self::empty(finish);
        let wanted = tokens as usize;
        while answer.ends.len() < wanted {
            let sentence = &SENTENCES[rng.usize(0..SENTENCES.len())];
            for piece in sentence.iter().take(wanted - answer.ends.len()) {
                answer.push(piece);
            }
        }
        answer
    }

    /// The text itself; at least one token.
    pub(crate) fn echo(text: &str, max_tokens: Option<u32>) -> Self {
        let ends = piece_ends(text);
        let full = max_tokens.is_some_and(|max| ends.len() >= max as usize);
        let finish = if full { Finish::Length } else { Finish::Stop };
        Self { text: text.to_owned(), ends, finish, stopped_by: None }
    }

    fn empty(finish: Finish) -> Self {
        Self { text: String::new(), ends: Vec::new(), finish, stopped_by: None }
    }

    fn push(&mut self, piece: &str) {
        self.text.push_str(piece);
        self.ends.push(self.text.len() as u32);
    }

    /// Ends the answer before the first of the stop strings, with the token that completes it.
    pub(crate) fn cut(&mut self, stops: &[String], keep: bool) {
        let found = stops.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| Some((self.text.find(stop.as_str())?, stop)));
        let Some((start, stop)) = found.min_by_key(|&(start, stop)| (start + stop.len(), start)) else { return };
        let end = start + stop.len();
        let tokens = self.ends.partition_point(|&piece_end| (piece_end as usize) < end) + 1;
        self.ends.truncate(tokens);
        self.text.truncate(if keep { end } else { start });
        for piece_end in &mut self.ends {
            *piece_end = (*piece_end).min(self.text.len() as u32);
        }
        self.finish = Finish::Stop;
        self.stopped_by = Some(stop.clone());
    }

    pub(crate) fn tokens(&self) -> u32 {
        self.ends.len() as u32
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The text of one token; empty where a stop string swallowed it.
    pub(crate) fn piece(&self, index: u32) -> &str {
        let index = index as usize;
        let start = if index == 0 { 0 } else { self.ends.get(index - 1).copied().unwrap_or_default() };
        let end = self.ends.get(index).copied().unwrap_or(start);
        self.text.get(start as usize..end as usize).unwrap_or_default()
    }
}

/// Where the tokens of a text end in it, the dropped characters counted to the token before.
fn piece_ends(text: &str) -> Vec<u32> {
    let starts: Vec<usize> = tokenizer::pieces(text).map(|piece| piece.as_ptr().addr() - text.as_ptr().addr()).collect();
    let mut ends: Vec<u32> = starts.iter().skip(1).map(|&start| start as u32).collect();
    ends.push(text.len() as u32);
    ends
}

/// How many tokens to say, and whether that is all that was allowed.
///
/// `room` is what the context window leaves. With a limit the length follows llm-d's distribution: 15 % use all of it, the rest
/// falls into five buckets. Without one it is around 40.
pub(crate) fn length(max_tokens: Option<u32>, ignore_eos: bool, room: u32, rng: &mut Rng) -> (u32, Finish) {
    let Some(max) = max_tokens else { return (unlimited(room.max(1), rng), Finish::Stop) };
    let tokens = if ignore_eos || max <= 1 {
        max
    } else if max <= 6 {
        rng.u32(1..=max)
    } else {
        let roll = rng.f64();
        match [0.2, 0.5, 0.7, 0.75, 0.85].iter().position(|&upper| roll <= upper) {
            None => max,
            Some(bucket) => {
                let (low, high) = buckets(max)[bucket];
                rng.u32(low..=high.max(low))
            }
        }
    };
    (tokens, if tokens == max { Finish::Length } else { Finish::Stop })
}

fn unlimited(room: u32, rng: &mut Rng) -> u32 {
    if room < 20 {
        return rng.u32(1..=room);
    }
    loop {
        let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
        let tokens = (40.0 + 20.0 * radius * (std::f64::consts::TAU * rng.f64()).cos()).round();
        if tokens >= 1.0 && tokens <= f64::from(room) {
            return tokens as u32;
        }
    }
}

/// First and last length of each bucket, for a limit above 6.
fn buckets(max: u32) -> [(u32, u32); 5] {
    let ends: [u32; 5] = if max <= 101 {
        // width · i in fifths, to stay exact
        [1, 2, 3, 4, 5].map(|i| (max - 1) * i / 5)
    } else {
        [20, 40, 60, max - 20, max]
    };
    let mut low = 1;
    ends.map(|end| {
        let bucket = (low, end.min(max - 1));
        low = end + 1;
        bucket
    })
}

/// Each sentence as its tokens.
static SENTENCES: LazyLock<Vec<Vec<&'static str>>> =
    LazyLock::new(|| TEXTS.iter().map(|text| tokenizer::pieces(text).collect()).collect());

/// Every sentence ends with a space, so that sentences join without changing their tokens.
const TEXTS: [&str; 11] = [
    "This is only a test of the model server. ",
    "Good to see you, did you sleep well? ",
    "It may rain in the afternoon, so take a coat. ",
    "To be, or not to be, that is the question. ",
    "A fish does not ask what water is. ",
    "Two and two make four on most days! ",
    "The train leaves at nine from the second platform. ",
    "She keeps her notes in a small green book. ",
    "Nobody on the hill had heard the bells before. ",
    "Fresh bread smells best when it is cold outside. ",
    "If the answer is long, the question was easy. ",
];
