use super::*;
use crate::msgpack::Malformed;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// The golden payloads, by name.
fn payload(name: &str) -> Vec<u8> {
    let table = include_str!("../../../../../testdata/kv/payloads.tsv");
    let row = table.lines().find_map(|row| row.strip_prefix(name)?.strip_prefix('\t'));
    hex(row.unwrap_or_else(|| panic!("no payload {name}")))
}

fn only(payload: &[u8]) -> Event<'_> {
    let mut batch = Batch::read(payload).unwrap();
    let event = batch.next().unwrap().unwrap();
    assert!(batch.next().is_none());
    event
}

fn stored(payload: &[u8]) -> Stored<'_> {
    match only(payload) {
        Event::Stored(stored) => stored,
        other => panic!("{other:?}"),
    }
}

fn numbers<T>(items: impl Iterator<Item = T>) -> Vec<T> {
    items.collect()
}

/// A msgpack string of less than 32 bytes.
fn text(text: &str) -> Vec<u8> {
    let mut out = vec![0xa0 | text.len() as u8];
    out.extend_from_slice(text.as_bytes());
    out
}

/// A batch in a list of events given as bytes.
fn batch(events: &[Vec<u8>]) -> Vec<u8> {
    let mut out = vec![0x92, 0xcb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0, 0x90 | events.len() as u8];
    events.iter().for_each(|event| out.extend_from_slice(event));
    out
}

/// A list event: tag, then fields as bytes.
fn list_event(tag: &str, fields: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![0x90 | (fields.len() + 1) as u8];
    out.extend(text(tag));
    fields.iter().for_each(|field| out.extend_from_slice(field));
    out
}

#[test]
fn golden_payloads() {
    let a = payload("A");
    let read = Batch::read(&a).unwrap();
    assert_eq!((read.timestamp, read.rank, read.remaining()), (1.5, Some(0), 1));
    let first = stored(&a);
    assert_eq!(numbers(first.hashes.iter()), [0x1111_1111_1111_1111]);
    assert_eq!(numbers(first.tokens.iter()), [1, 2, 3, 4]);
    let Stored { parent, block_tokens, tier, lora_name, group, .. } = first;
    assert_eq!((parent, block_tokens, tier, lora_name, group), (None, 4, Tier::Gpu, None, None));

    let b = payload("B");
    let full = stored(&b);
    assert_eq!((numbers(full.hashes.iter()), full.parent), (vec![100], Some(99)));
    assert_eq!((full.lora_id, full.lora_name, full.group), (Some(7), Some("ad"), Some(0)));
    assert_eq!((full.kind, full.window_tokens), (Some(CacheKind::FullAttention), None));
    let mut extras = Extras::default();
    full.extras(&mut extras);
    assert_eq!(numbers(extras.iter()), [(0, ExtraKey::Media("img_A"))]);

    let c = payload("C");
    let events: Vec<Event<'_>> = Batch::read(&c).unwrap().map(Result::unwrap).collect();
    let [Event::Removed(removed), Event::Cleared] = events[..] else { panic!("{events:?}") };
    assert_eq!((numbers(removed.hashes.iter()), removed.tier, removed.group), (vec![100], Tier::Gpu, None));

    for name in ["D", "E"] {
        let payload = payload(name);
        let map = stored(&payload);
        assert_eq!((numbers(map.hashes.iter()), map.parent, map.block_tokens), (vec![100], None, 4), "{name}");
        assert_eq!(numbers(map.tokens.iter()), [1, 2, 3, 4]);
    }
    let e = payload("E");
    let read = Batch::read(&e).unwrap();
    assert_eq!((read.timestamp, read.rank), (1.5, Some(0)));

    let f = payload("F");
    let update = stored(&f);
    assert_eq!((numbers(update.hashes.iter()), update.tokens.len(), update.tier), (vec![100], 0, Tier::Cpu));

    let g = payload("G");
    let wrapped = stored(&g);
    assert_eq!((numbers(wrapped.hashes.iter()), wrapped.parent, wrapped.tier), (vec![100], None, Tier::Shared));
    assert!(Batch::read(&g).unwrap().rank.is_none());
}

#[test]
fn the_simulators_payloads() {
    let array = payload("sim-array");
    let events: Vec<Event<'_>> = Batch::read(&array).unwrap().map(Result::unwrap).collect();
    let [Event::Stored(stored), Event::Removed(removed), Event::Cleared] = events[..] else { panic!("{events:?}") };
    assert_eq!((numbers(stored.hashes.iter()), stored.parent), (vec![0x8464_eee8_f2cf_3412], None));
    assert_eq!((numbers(stored.tokens.iter()), stored.block_tokens), (vec![1, 2], 2));
    assert_eq!(stored.hashes, removed.hashes);
    let map = payload("sim-map");
    let Event::Stored(in_map) = Batch::read(&map).unwrap().next().unwrap().unwrap() else { panic!() };
    assert_eq!((in_map.hashes, in_map.parent, in_map.tokens), (stored.hashes, None, stored.tokens));
}

#[test]
fn hashes_of_every_form() {
    for (bytes, want) in [
        ("00", 0),
        ("7f", 127),
        ("ff", u64::MAX),
        ("cc80", 128),
        ("cd0100", 256),
        ("ce00010000", 65_536),
        ("cfffffffffffffffff", u64::MAX),
        ("d080", -128_i64 as u64),
        ("d1ff00", -256_i64 as u64),
        ("d2ffff0000", -65_536_i64 as u64),
        ("d38000000000000000", 1 << 63),
        ("d305", 0),
        ("c40105", 5),
        ("c4020102", 0x102),
        ("c40a00001122334455667788", 0x1122_3344_5566_7788),
        ("c50002ffff", 0xffff),
    ] {
        let mut list = vec![0x91];
        list.extend(hex(bytes));
        let payload = batch(&[list_event("BlockRemoved", &[&list])]);
        let event = Batch::read(&payload).unwrap().next().unwrap();
        if bytes == "d305" {
            assert!(matches!(event, Err(EventError::Malformed(Malformed::Truncated))), "{event:?}");
            continue;
        }
        let Ok(Event::Removed(removed)) = event else { panic!("{bytes}: {event:?}") };
        assert_eq!(numbers(removed.hashes.iter()), [want], "{bytes}");
    }
}
#[test]
fn one_bad_event_costs_only_itself() {
    let good = list_event("BlockRemoved", &[&[0x91, 1]]);
    let cases: [(Vec<u8>, EventError); 9] = [
        (list_event("BlockMoved", &[&[0x91, 1]]), EventError::UnknownTag),
        (list_event("BlockStored", &[&[0x91, 1], &[0xc0]]), EventError::TooShort { tag: "BlockStored", fields: 5 }),
        (list_event("BlockRemoved", &[]), EventError::TooShort { tag: "BlockRemoved", fields: 2 }),
        (vec![0x90], EventError::NoTag),
        (vec![0x07], EventError::NoTag),
        (vec![0x80], EventError::NoType),
        (list_event("BlockRemoved", &[&[0x91, 0xc4, 0]]), EventError::EmptyHash),
        (
            list_event("BlockStored", &[&[0x91, 1], &[0xc0], &[0x90], &[4], &[0xc0], &[0xc0], &[0xc0], &[0x91, 5]]),
            EventError::ExtraKeys { block: 0 },
        ),
        // A group below 0.
        (list_event("BlockRemoved", &[&[0x91, 1], &[0xc0], &[0xff]]), EventError::Field("group_idx")),
    ];
    for (bad, want) in cases {
        let payload = batch(&[good.clone(), bad, good.clone()]);
        let events: Vec<_> = Batch::read(&payload).unwrap().collect();
        assert!(events.len() == 3 && events[0].is_ok() && events[2].is_ok(), "{events:?}");
        assert_eq!(events[1], Err(want));
        assert!(!want.reason().is_empty() && !want.to_string().is_empty());
    }
}

#[test]
fn a_batch_that_breaks_off_keeps_what_came_before() {
    let good = list_event("BlockRemoved", &[&[0x91, 1]]);
    let mut payload = batch(&[good.clone(), good]);
    payload.truncate(payload.len() - 1);
    let events: Vec<_> = Batch::read(&payload).unwrap().collect();
    assert_eq!(events.len(), 2);
    assert!(events[0].is_ok());
    assert_eq!(events[1], Err(EventError::Malformed(Malformed::Truncated)));
}

#[test]
fn what_is_no_batch() {
    for bytes in ["", "c0", "90", "91cb3ff8000000000000", "92cb3ff8000000000000c0", "80", "81a2747300", "c1", "92c1"] {
        assert!(Batch::read(&hex(bytes)).is_err(), "{bytes}");
    }
}

#[test]
fn vendor_neutral_events() {
    let mut event = vec![0x88];
    for (key, value) in [
        ("event_type", text("stored")),
        ("model_name", text("m")),
        ("seq_hashes", vec![0x92, 5, 6]),
        ("parent_hash", vec![4]),
        ("token_ids", vec![0x94, 1, 2, 3, 4]),
        ("block_size", vec![2]),
        ("medium", text("DISK")),
        ("object_key", text("k")),
    ] {
        event.extend(text(key));
        event.extend(value);
    }
    let payload = batch(&[event]);
    let stored = stored(&payload);
    assert_eq!((numbers(stored.hashes.iter()), stored.parent, stored.tier), (vec![5, 6], Some(4), Tier::Disk));
    assert_eq!((stored.tokens.len(), stored.block_tokens), (4, 2));
}

#[test]
fn extra_keys_and_salts_by_what_they_are() {
    // Adapter, image with an offset, a number, embeddings; nothing; the salt on its own.
    let mut keys = vec![0x92, 0x94];
    keys.extend(text("ad"));
    keys.push(0x92);
    keys.extend(text("img"));
    keys.extend([3, 9, 0xc4, 1, 7, 0xc0]);
    let mut metadata = vec![0x81];
    metadata.extend(text("cache_salt"));
    metadata.extend(text("s"));
    let (medium, adapter) = (text("GPU"), text("ad"));
    let fields: [&[u8]; 10] =
        [&[0x92, 1, 2], &[0], &[0x94, 1, 2, 3, 4], &[2], &[0xc0], &medium, &adapter, &keys, &[0xc0], &metadata];
    let payload = batch(&[list_event("BlockStored", &fields)]);
    let stored = stored(&payload);
    let mut extras = Extras::default();
    stored.extras(&mut extras);
    let want = [ExtraKey::Adapter("ad"), ExtraKey::Media("img"), ExtraKey::Opaque(&[7]), ExtraKey::Salt("s")];
    assert_eq!(numbers(extras.iter()), want.map(|key| (0, key)));
}

#[test]
fn pairs_of_tokens_count_as_their_first() {
    let fields: [&[u8]; 4] = [&[0x91, 1], &[0xc0], &[0x92, 0x92, 1, 2, 0x92, 2, 3], &[2]];
    let payload = batch(&[list_event("BlockStored", &fields)]);
    assert_eq!(numbers(stored(&payload).tokens.iter()), [1, 2]);
}

#[test]
fn no_input_is_too_much() {
    // Random bytes, and golden payloads with bytes changed: whatever comes is read to its end, and no list says more than it has.
    let mut random = fastrand::Rng::with_seed(4);
    let golden: Vec<Vec<u8>> = ["A", "B", "C", "D", "E", "F", "G", "sim-array", "sim-map"].map(payload).to_vec();
    for round in 0..30_000 {
        let mut bytes = golden[random.usize(..golden.len())].clone();
        match round % 3 {
            0 => bytes = (0..random.usize(..80)).map(|_| random.u8(..)).collect(),
            1 => (0..random.usize(1..4)).for_each(|_| {
                let at = random.usize(..bytes.len());
                bytes[at] = random.u8(..);
            }),
            _ => bytes.truncate(random.usize(..=bytes.len())),
        }
        let Ok(batch) = Batch::read(&bytes) else { continue };
        let mut seen = 0;
        for event in batch {
            seen += 1;
            let (hashes, tokens) = match event {
                Ok(Event::Stored(stored)) => {
                    let mut extras = Extras::default();
                    stored.extras(&mut extras);
                    (stored.hashes, stored.tokens)
                }
                Ok(Event::Removed(removed)) => (removed.hashes, Tokens::default()),
                _ => continue,
            };
            assert_eq!((hashes.iter().count(), tokens.iter().count()), (hashes.len(), tokens.len()));
            assert!(hashes.len() + tokens.len() <= bytes.len());
        }
        assert!(seen <= bytes.len());
    }
}

#[test]
fn depth_does_not_matter() {
    let mut payload = vec![0x92, 0, 0x91];
    payload.extend(std::iter::repeat_n(0x91, 1 << 20));
    payload.push(0);
    assert_eq!(Batch::read(&payload).unwrap().next(), Some(Err(EventError::NoTag)));
    let mut wrapped = vec![0x90];
    for _ in 0..40 {
        wrapped = [vec![0xc4, wrapped.len() as u8], wrapped].concat();
    }
    assert_eq!(Batch::read(&batch(&[wrapped])).unwrap().next(), Some(Err(EventError::NoTag)));
}

fn sim_batch(layout: EventLayout) -> BatchWriter {
    let mut batch = BatchWriter::new(layout);
    let hashes = [0x8464_eee8_f2cf_3412];
    batch.stored(&StoredBlocks { hashes: &hashes, tokens: &[1, 2], block_tokens: 2, medium: "GPU", ..StoredBlocks::default() });
    if layout == EventLayout::Lists {
        batch.removed(&hashes, "GPU", None);
        batch.cleared();
    }
    batch
}

#[test]
fn what_is_written_is_what_simulators_write() {
    assert_eq!(sim_batch(EventLayout::Lists).finish(1_700_000_000.5, 0), payload("sim-array"));
    assert_eq!(sim_batch(EventLayout::MapEvents).finish(1_700_000_000.5, 0), payload("sim-map"));
}

#[test]
fn what_is_written_is_read_in_every_layout() {
    let tokens: Vec<u32> = (0..70_000).collect();
    let hashes: Vec<u64> = (1..=70_000 / 16).collect();
    let name = "x".repeat(300);
    for layout in [EventLayout::Lists, EventLayout::MapEvents, EventLayout::Maps] {
        let mut batch = BatchWriter::new(layout);
        let blocks = StoredBlocks {
            hashes: &hashes,
            parent: None,
            tokens: &tokens,
            block_tokens: 16,
            lora_id: Some(300),
            lora_name: Some(&name),
            medium: "CPU",
            cache_salt: Some("s"),
            group: Some((3, "sliding_window", Some(100_000))),
        };
        batch.stored(&blocks);
        batch.removed(&hashes[..2], "CPU", Some(3));
        batch.cleared();
        assert_eq!(batch.len(), 3);
        let payload = batch.finish(2.5, 200);
        assert!(batch.is_empty());
        let read = Batch::read(&payload).unwrap();
        assert_eq!((read.timestamp, read.rank), (2.5, Some(200)));
        let events: Vec<Event<'_>> = read.map(Result::unwrap).collect();
        let [Event::Stored(stored), Event::Removed(removed), Event::Cleared] = events[..] else { panic!("{layout:?}") };
        assert!(stored.hashes.iter().eq(hashes.iter().copied()) && stored.tokens.iter().eq(tokens.iter().copied()));
        assert_eq!((stored.lora_id, stored.lora_name, stored.tier), (Some(300), Some(&*name), Tier::Cpu));
        assert_eq!((stored.group, stored.kind), (Some(3), Some(CacheKind::SlidingWindow)));
        assert_eq!((stored.window_tokens, stored.parent, stored.block_tokens), (Some(100_000), None, 16));
        let mut extras = Extras::default();
        stored.extras(&mut extras);
        assert_eq!(numbers(extras.iter()), [(0, ExtraKey::Media("s"))]);
        assert_eq!((numbers(removed.hashes.iter()), removed.group), (vec![1, 2], Some(3)));
    }
}
