//! Blocks of the KV cache: what the configuration takes them for, and what engines say.
//!
//! A prefix index whose blocks are not made of the engines' blocks counts hits that are none, and one that takes caches for
//! larger than they are believes in blocks that were thrown out long ago.

use weir_plan::{Effective, EffectivePlugin};
use weir_pool::Scrape;

use crate::doctor::Finding;

const APPROXIMATE: &str = "approx-prefix-cache-producer";
const PRECISE: &str = "precise-prefix-cache-producer";
const CHECK: &str = "endpoint.block-size";

/// Judges every prefix index of a plan by what engines (name, numbers) say.
pub(super) fn judge(plan: &Effective, read: &[(String, &Scrape)]) -> Vec<Finding> {
    let mut found = Vec::new();
    let sizes: Vec<(&str, u32)> = read
        .iter()
        .filter_map(|(name, scrape)| Some((name.as_str(), scrape.block_size_tokens.filter(|size| *size > 0)?)))
        .collect();
    for plugin in &plan.plugins {
        let parameters = &plugin.parameters;
        match plugin.kind {
            APPROXIMATE if parameters["autoTune"] != false => found.push(automatic(plugin, &sizes)),
            APPROXIMATE => {
                let size = parameters["blockSizeTokens"].as_u64().unwrap_or(16);
                found.push(configured(plugin, "blockSizeTokens", size, &sizes));
                found.push(capacity(plugin, size, read));
            }
            PRECISE => {
                let processor = &parameters["tokenProcessorConfig"];
                let size = ["blockSizeTokens", "blockSize"].into_iter().find_map(|key| processor[key].as_u64()).unwrap_or(16);
                found.push(configured(plugin, "tokenProcessorConfig.blockSize", size, &sizes));
            }
            _ => {}
        }
    }
    found
}

fn automatic(plugin: &EffectivePlugin, sizes: &[(&str, u32)]) -> Finding {
    let name = &plugin.name;
    let Some((first, size)) = sizes.first() else {
        return Finding::skipped(CHECK, format!("{name}: no engine tells the size of its blocks, so it is guessed"));
    };
    match sizes.iter().find(|(_, other)| other != size) {
        None => Finding::ok(CHECK, format!("{name} takes the engines' block size, {size} tokens")),
        Some((second, other)) => Finding::wrong(
            CHECK,
            format!("{name} takes one block size for all engines, and {first} has blocks of {size} tokens, {second} of {other}"),
            "start all engines of a pool with the same --block-size, or put them into pools of their own",
        ),
    }
}

fn configured(plugin: &EffectivePlugin, field: &str, size: u64, sizes: &[(&str, u32)]) -> Finding {
    let name = &plugin.name;
    if sizes.is_empty() {
        return Finding::skipped(CHECK, format!("{name}: no engine tells the size of its blocks"));
    }
    let misfit = sizes.iter().find(|(_, engine)| size == 0 || !size.is_multiple_of(u64::from(*engine)));
    match misfit {
        None => Finding::ok(CHECK, format!("{name}: blocks of {size} tokens are made of the engines' blocks")),
        Some((endpoint, engine)) => Finding::wrong(
            CHECK,
            format!("{name} takes blocks for {size} tokens, and {endpoint} has blocks of {engine}"),
            format!("set {field}: {engine}, or start the engine with --block-size {size}"),
        ),
    }
}

fn capacity(plugin: &EffectivePlugin, size: u64, read: &[(String, &Scrape)]) -> Finding {
    const CHECK: &str = "endpoint.cache-size";
    let name = &plugin.name;
    let blocks = plugin.parameters["lruCapacityPerServer"].as_u64().unwrap_or(31_250);
    let believed = blocks.saturating_mul(size);
    let caches = read.iter().filter_map(|(endpoint, scrape)| {
        let (blocks, tokens) = (scrape.num_blocks?, scrape.block_size_tokens?);
        Some((endpoint, u64::from(blocks) * u64::from(tokens))).filter(|(_, cache)| *cache > 0)
    });
    match caches.min_by_key(|(_, cache)| *cache) {
        None => Finding::skipped(CHECK, format!("{name}: no engine tells the size of its cache")),
        Some((_, cache)) if believed <= cache => Finding::ok(CHECK, format!("{name} believes in no more cache than there is")),
        Some((endpoint, cache)) => Finding::wrong(
            CHECK,
            format!("{name} believes in caches of {believed} tokens, and {endpoint} holds {cache}"),
            format!("set autoTune: true, or lruCapacityPerServer: {}", cache / size.max(1)),
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use weir_plan::ExtensionPoint;

    use super::*;
    use crate::doctor::report::Verdict;

    fn scrape(block_size_tokens: u32, num_blocks: u32) -> Scrape {
        Scrape { block_size_tokens: Some(block_size_tokens), num_blocks: Some(num_blocks), ..Scrape::default() }
    }

    fn found(kind: &'static str, parameters: Value, engines: &[Scrape]) -> Vec<Finding> {
        let plugin = EffectivePlugin {
            name: "p".to_owned(),
            kind,
            added_because: None,
            active: true,
            points: &[ExtensionPoint::DataProducer],
            parameters,
        };
        let plan = Effective { plugins: vec![plugin], ..Effective::default() };
        let read: Vec<(String, &Scrape)> = engines.iter().enumerate().map(|(i, one)| (format!("e{i}"), one)).collect();
        judge(&plan, &read)
    }

    fn verdicts(found: &[Finding]) -> Vec<Verdict> {
        found.iter().map(|one| one.verdict).collect()
    }

    #[test]
    fn what_fits() {
        use Verdict::{Ok, Skipped};
        assert_eq!(verdicts(&found(APPROXIMATE, Value::Null, &[scrape(16, 10), scrape(16, 99)])), [Ok]);
        assert_eq!(verdicts(&found(APPROXIMATE, Value::Null, &[])), [Skipped]);
        let fixed = json!({"autoTune": false, "blockSizeTokens": 64, "lruCapacityPerServer": 100});
        assert_eq!(verdicts(&found(APPROXIMATE, fixed.clone(), &[scrape(16, 1000)])), [Ok, Ok]);
        assert_eq!(verdicts(&found(APPROXIMATE, fixed, &[])), [Skipped, Skipped]);
        assert_eq!(verdicts(&found(PRECISE, json!({"tokenProcessorConfig": {"blockSize": 32}}), &[scrape(32, 1)])), [Ok]);
        assert_eq!(found("queue-scorer", Value::Null, &[scrape(16, 1)]), []);
    }

    #[test]
    fn engines_that_differ_from_each_other() {
        let [one] = found(APPROXIMATE, Value::Null, &[scrape(16, 10), scrape(32, 10)]).try_into().expect("one finding");
        assert!(one.verdict == Verdict::Wrong && one.message.contains("e0 has blocks of 16 tokens, e1 of 32"), "{one:?}");
        assert!(one.fix.is_some_and(|fix| fix.contains("--block-size")));
    }

    #[test]
    fn a_size_that_is_not_the_engines() {
        let fixed = json!({"autoTune": false, "blockSizeTokens": 24, "lruCapacityPerServer": 1});
        let one = &found(APPROXIMATE, fixed, &[scrape(16, 1000)])[0];
        assert_eq!((one.check, one.verdict), (CHECK, Verdict::Wrong));
        assert_eq!(one.fix.as_deref(), Some("set blockSizeTokens: 16, or start the engine with --block-size 24"));
        let one = &found(PRECISE, json!({"tokenProcessorConfig": {"blockSize": 16}}), &[scrape(64, 1)])[0];
        assert_eq!(one.fix.as_deref(), Some("set tokenProcessorConfig.blockSize: 64, or start the engine with --block-size 16"));
    }

    #[test]
    fn a_cache_that_is_smaller_than_believed() {
        let one =
            &found(APPROXIMATE, json!({"autoTune": false, "blockSizeTokens": 16}), &[scrape(16, 1000), scrape(16, 9000)])[1];
        assert_eq!((one.check, one.verdict), ("endpoint.cache-size", Verdict::Wrong));
        assert!(one.message.contains("500000 tokens, and e0 holds 16000"), "{one:?}");
        assert_eq!(one.fix.as_deref(), Some("set autoTune: true, or lruCapacityPerServer: 1000"));
    }
}
