use super::*;

fn fnv(bytes: &[u8]) -> u64 {
    let mut state = Fnv::default();
    state.put(bytes);
    state.0
}

fn tokens(list: &str) -> Vec<u32> {
    match list.split_once("..") {
        Some((first, last)) => (first.parse().unwrap()..=last.parse().unwrap()).collect(),
        None => list.split(',').map(|token| token.parse().unwrap()).collect(),
    }
}

/// `0=img_A+img_B` means: two keys on block 0.
fn extras(text: &str) -> Extras<'_> {
    let mut extras = Extras::default();
    for part in text.split(' ').filter(|part| *part != "-") {
        let (block, ids) = part.split_once('=').unwrap();
        ids.split('+').for_each(|id| {
            let key = if id.contains("salt") { ExtraKey::Salt(id) } else { ExtraKey::Media(id) };
            extras.push(block.parse().unwrap(), key);
        });
    }
    extras
}

#[test]
fn golden_vectors() {
    let table = include_str!("../../../../../testdata/kv/block-keys.tsv");
    let mut rows = 0;
    for row in table.lines().filter(|row| !row.is_empty() && !row.starts_with('#')) {
        let [algorithm, seed, model, block, list, keys, want] = row.split('\t').collect::<Vec<_>>()[..] else { panic!("{row}") };
        let hasher = KeyHasher::new(algorithm.parse().unwrap(), seed.trim_matches('"'));
        let mut got = vec![hasher.root(model)];
        if list != "-" {
            got.clear();
            hasher.chain(hasher.root(model), &tokens(list), block.parse().unwrap(), &extras(keys), &mut got);
        }
        let want: Vec<u64> = want.split(' ').map(|one| one.parse().unwrap()).collect();
        assert_eq!(got, want, "{row}");
        rows += 1;
    }
    assert_eq!(rows, 35);
}

#[test]
fn seeds() {
    for (seed, by_fnv, by_xxh64) in [
        ("", 14_695_981_039_346_656_037, 17_241_709_254_077_376_921),
        ("42", 571_532_774_284_038_691, 7_919_287_270_473_417_401),
        ("test-seed", 988_467_944_923_922_317, 15_005_359_024_872_384_098),
    ] {
        assert_eq!(fnv(seed.as_bytes()), by_fnv);
        assert_eq!(KeyHasher::new(HashAlgorithm::CborFnv, seed).seed, by_fnv);
        assert_eq!(KeyHasher::new(HashAlgorithm::Xxh64, seed).seed, by_xxh64);
    }
    assert_eq!(xxhash_rust::xxh64::xxh64(b"test-model", 0), 3_725_054_772_343_846_052);
}

#[test]
fn what_is_hashed() {
    fn hex(input: &[u8]) -> String {
        input.iter().map(|byte| format!("{byte:02x}")).collect()
    }
    let mut input = Vec::new();
    cbor::array(&mut input, 3);
    cbor::unsigned(&mut input, fnv(b""));
    cbor::null(&mut input);
    cbor::text(&mut input, "test-model");
    assert_eq!(hex(&input), "831bcbf29ce484222325f66a746573742d6d6f64656c");
    input.clear();
    cbor::array(&mut input, 3);
    cbor::unsigned(&mut input, KeyHasher::new(HashAlgorithm::CborFnv, "").root("Qwen/Qwen3-32B"));
    cbor::tokens(&mut input, &[151_643, 151_644, 100_000, u32::MAX]);
    cbor::null(&mut input);
    assert_eq!(hex(&input), "831b9ae110ccacd232c8841a0002505b1a0002505c1a000186a01afffffffff6");
}

#[test]
fn names_of_algorithms() {
    assert_eq!("".parse(), Ok(HashAlgorithm::CborFnv));
    assert_eq!("xxhash".parse(), Ok(HashAlgorithm::Xxh64));
    let refused = "md5".parse::<HashAlgorithm>().unwrap_err();
    assert!(refused.to_string().contains("unsupported hashAlgorithm `md5`"));
}

#[test]
fn an_adapter_is_no_image_and_embeddings_are_no_text() {
    for algorithm in [HashAlgorithm::CborFnv, HashAlgorithm::Xxh64] {
        let hasher = KeyHasher::new(algorithm, "");
        let key = |extras: &[ExtraKey<'_>]| hasher.block(hasher.root("m"), &[1, 2], extras.iter().copied());
        assert_eq!(key(&[ExtraKey::Adapter("a")]), key(&[]));
        assert_ne!(key(&[ExtraKey::Media("a")]), key(&[]));
        assert_ne!(key(&[ExtraKey::Media("a")]), key(&[ExtraKey::Opaque(b"a")]));
        assert_ne!(key(&[ExtraKey::Media("a"), ExtraKey::Media("b")]), key(&[ExtraKey::Media("b"), ExtraKey::Media("a")]));
        assert_ne!(hasher.root("m"), hasher.root("adapter"));
    }
}

#[test]
fn only_full_blocks_have_keys() {
    let hasher = KeyHasher::new(HashAlgorithm::Xxh64, "");
    let mut out = Vec::new();
    hasher.chain(1, &[1, 2, 3], 4, &Extras::default(), &mut out);
    hasher.chain(1, &[1, 2, 3], 0, &Extras::default(), &mut out);
    assert!(out.is_empty());
    hasher.chain(1, &tokens("1..11"), 4, &Extras::default(), &mut out);
    assert_eq!(out.len(), 2);
}
