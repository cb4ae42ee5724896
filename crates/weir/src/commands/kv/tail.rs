//! `weir kv tail`: what an engine says of its cache, as it says it.

use std::{fmt::Write as _, io::Write as _, time::Duration};

use serde_json::{Value, json};
use weir_kv_events::{Live, Tail, Topic};
use weir_prefix::{Batch, Event, EventError, ExtraKey, Extras, Stored};

use crate::{cli::KvTail, failure::Failure};

/// Hashes and tokens that a line shows.
const SHOWN: usize = 4;

pub(super) async fn run(arguments: KvTail) -> Result<String, Failure> {
    let address = match arguments.address.contains("://") {
        true => arguments.address.clone(),
        false => format!("tcp://{}", arguments.address),
    };
    let failed = |error: weir_kv_events::TailError| Failure::new(error.to_string());
    let timeout = Duration::from_secs(arguments.timeout_seconds.into());
    let mut tail = Tail::connect(&address, &arguments.topic, timeout).await.map_err(failed)?;
    let mut left = arguments.count;
    loop {
        let live = tokio::select! {
            live = tail.next() => live.map_err(failed)?,
            _ = tokio::signal::ctrl_c() => return Ok(String::new()),
        };
        let text = if arguments.json { as_json(&live) } else { as_text(&live) };
        let mut out = std::io::stdout();
        // A reader that has left ends it.
        if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
            return Ok(String::new());
        }
        if let Some(left) = &mut left {
            *left -= 1;
            if *left == 0 {
                return Ok(String::new());
            }
        }
    }
}

/// A line for the batch, and one for each of its events.
fn as_text(live: &Live) -> String {
    let topic = Topic::of(&live.topic);
    let mut out = format!("#{} {} {} {} bytes", live.number, topic.pod, topic.model, live.payload.len());
    let batch = match Batch::read(&live.payload) {
        Ok(batch) => batch,
        Err(error) => {
            let _ = writeln!(out, "  unreadable: {error}");
            return out;
        }
    };
    let _ = writeln!(out, "  at {:.3}, rank {}", batch.timestamp, batch.rank.map_or("-".to_owned(), |rank| rank.to_string()));
    for event in batch {
        let _ = match event {
            Ok(Event::Stored(stored)) => writeln!(out, "  {}", stored_line(&stored)),
            Ok(Event::Removed(removed)) => writeln!(
                out,
                "  removed {} from {}: {}{}",
                count(removed.hashes.len(), "block"),
                removed.tier,
                some(removed.hashes.iter().map(|hash| format!("{hash:016x}")), removed.hashes.len()),
                removed.group.map_or(String::new(), |group| format!(", group {group}")),
            ),
            Ok(Event::Cleared) => writeln!(out, "  cleared"),
            Err(error) => writeln!(out, "  skipped ({}): {error}", error.reason()),
        };
    }
    out
}

fn stored_line(stored: &Stored<'_>) -> String {
    let mut line = format!(
        "stored {} of {} tokens on {}: {}",
        count(stored.hashes.len(), "block"),
        stored.block_tokens,
        stored.tier,
        some(stored.hashes.iter().map(|hash| format!("{hash:016x}")), stored.hashes.len()),
    );
    if let Some(parent) = stored.parent {
        let _ = write!(line, " after {parent:016x}");
    }
    if !stored.tokens.is_empty() {
        let _ = write!(line, ", tokens {}", some(stored.tokens.iter().map(|token| token.to_string()), stored.tokens.len()));
    }
    if let Some(name) = stored.lora_name {
        let _ = write!(line, ", adapter {name}");
    }
    if let Some(group) = stored.group {
        let _ = write!(line, ", group {group} ({})", stored.kind.map_or("?", weir_prefix::CacheKind::name));
    }
    let mut extras = Extras::default();
    stored.extras(&mut extras);
    for (block, key) in extras.iter() {
        let _ = write!(line, ", block {block} has {}", key_text(key));
    }
    line
}

fn key_text(key: ExtraKey<'_>) -> String {
    match key {
        ExtraKey::Adapter(name) => format!("adapter {name}"),
        ExtraKey::Media(id) => format!("media or salt {id}"),
        ExtraKey::Salt(salt) => format!("salt {salt}"),
        ExtraKey::Opaque(bytes) => format!("{} bytes of embeddings", bytes.len()),
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn some(items: impl Iterator<Item = String>, all: usize) -> String {
    let mut text = items.take(SHOWN).collect::<Vec<_>>().join(" ");
    if all > SHOWN {
        let _ = write!(text, " … ({all})");
    }
    text
}

/// One object a batch, on a line of its own.
fn as_json(live: &Live) -> String {
    let topic = Topic::of(&live.topic);
    let mut line = json!({"seq": live.number, "pod": topic.pod, "model": topic.model});
    match Batch::read(&live.payload) {
        Ok(batch) => {
            line["timestamp"] = json!(batch.timestamp);
            line["rank"] = json!(batch.rank);
            line["events"] = batch.map(event_json).collect();
        }
        Err(error) => line["error"] = json!(error.to_string()),
    }
    format!("{line}\n")
}

fn event_json(event: Result<Event<'_>, EventError>) -> Value {
    match event {
        Ok(Event::Stored(stored)) => json!({
            "type": "stored",
            "hashes": stored.hashes.iter().collect::<Vec<_>>(),
            "parent": stored.parent,
            "tokens": stored.tokens.iter().collect::<Vec<_>>(),
            "blockTokens": stored.block_tokens,
            "tier": stored.tier.name(),
            "adapter": stored.lora_name,
            "group": stored.group,
            "kind": stored.kind.map(weir_prefix::CacheKind::name),
        }),
        Ok(Event::Removed(removed)) => json!({
            "type": "removed",
            "hashes": removed.hashes.iter().collect::<Vec<_>>(),
            "tier": removed.tier.name(),
            "group": removed.group,
        }),
        Ok(Event::Cleared) => json!({"type": "cleared"}),
        Err(error) => json!({"type": "skipped", "reason": error.reason(), "error": error.to_string()}),
    }
}

#[cfg(test)]
mod tests {
    use weir_prefix::{BatchWriter, EventLayout, StoredBlocks};

    use super::*;

    fn live() -> Live {
        let mut batch = BatchWriter::new(EventLayout::Lists);
        let tokens: Vec<u32> = (1..=12).collect();
        batch.stored(&StoredBlocks {
            hashes: &[1, 2, 3],
            parent: Some(9),
            tokens: &tokens,
            block_tokens: 4,
            lora_name: Some("ad"),
            medium: "GPU",
            ..StoredBlocks::default()
        });
        batch.removed(&[7], "CPU", None);
        batch.cleared();
        Live { topic: "kv@10.0.0.1:8000@m".into(), number: 5, payload: batch.finish(1.5, 0).into() }
    }

    #[test]
    fn every_event_has_a_line() {
        assert_eq!(
            as_text(&live()).lines().map(str::trim_end).collect::<Vec<_>>()[1..],
            [
                "  stored 3 blocks of 4 tokens on gpu: 0000000000000001 0000000000000002 0000000000000003 after \
                 0000000000000009, tokens 1 2 3 4 … (12), adapter ad",
                "  removed 1 block from cpu: 0000000000000007",
                "  cleared",
            ]
        );
        assert!(as_text(&live()).starts_with("#5 10.0.0.1:8000 m "));
        let broken = Live { payload: "x".into(), ..live() };
        assert!(as_text(&broken).contains("unreadable"));
    }

    #[test]
    fn every_batch_is_an_object() {
        let object: Value = serde_json::from_str(&as_json(&live())).unwrap();
        assert_eq!((object["seq"].as_u64(), object["model"].as_str()), (Some(5), Some("m")));
        assert_eq!(object["events"][0]["parent"], 9);
        assert_eq!(object["events"][1]["tier"], "cpu");
        assert_eq!(object["events"][2]["type"], "cleared");
    }
}
