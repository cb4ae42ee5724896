//! `mm-embeddings-cache-producer`: which endpoints encoded the request's images, videos and sounds before.

use std::{
    cell::RefCell,
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::Diagnostic;
use weir_plan::{
    Attributes, Column, DataKey, DataSet, Draft, ExtensionPoint, MediaItem, Need, Outgoing, Parts, PluginContext, PluginType,
    PreRequest, Producer, PromptSink, PromptStream, RequestView, Targets,
};
use weir_pool::Endpoint;
use weir_prefix::{ApproxIndex, LookupScratch};
use weir_protocol::MediaKind;

use crate::declare::beta;

pub(crate) fn plugin() -> PluginType {
    beta::<Params>(
        "mm-embeddings-cache-producer",
        &[ExtensionPoint::DataProducer, ExtensionPoint::PreRequest],
        "Remembers which endpoint was sent which images, videos and sounds, and tells which of a new request's each one was sent.",
        draft,
    )
}

/// How much an endpoint keeps.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Memory of an endpoint's encoder cache in MiB; an item counts as 2 MiB.
    #[serde(rename = "cacheSizeInMBPerServer")]
    cache_size_in_mb_per_server: u64,
}

impl Default for Params {
    fn default() -> Self {
        Self { cache_size_in_mb_per_server: 4_096 }
    }
}

const MIB_PER_ITEM: u64 = 2;
/// Memory of the whole.
const MAX_BYTES: usize = 64 << 20;
/// Items of one request that are looked at.
const MAX_ITEMS: usize = 1_024;
/// Between searches for endpoints that are gone.
const PURGE_EVERY: Duration = Duration::from_secs(120);

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    let capacity = usize::try_from(params.cache_size_in_mb_per_server / MIB_PER_ITEM).unwrap_or(usize::MAX);
    if capacity == 0 {
        return Err(context.error_at("cacheSizeInMBPerServer", "must be at least 2: one item takes 2 MiB"));
    }
    let need = Need::required(DataKey::TokenizedPrompt, None);
    let tokens_from = need.producer.clone();
    let missing = context.error(format!("`{tokens_from}` produces no tokens"));
    Ok(Draft::wired(vec![need], vec![DataKey::EncoderCacheMatchInfo], move |wiring| {
        let (Some(prompt), Some(column)) = (wiring.prompt_stream(&tokens_from), wiring.own_encoder_column()) else {
            return Err(missing);
        };
        let plugin = MmEmbeddings { prompt, column, capacity, index: ApproxIndex::new(MAX_BYTES), next_purge: AtomicU64::new(0) };
        let plugin = Arc::new(plugin);
        Ok(Parts { producer: Some(plugin.clone()), pre_request: Some(plugin), ..Parts::default() })
    }))
}

struct MmEmbeddings {
    prompt: Arc<dyn PromptStream>,
    column: Column,
    /// Items that an endpoint keeps.
    capacity: usize,
    index: ApproxIndex,
    /// Microseconds.
    next_purge: AtomicU64,
}

/// Takes a prompt's media and leaves the rest.
struct Media<'a>(&'a mut Vec<MediaItem>);

impl PromptSink for Media<'_> {
    fn bytes(&mut self, _: &[u8]) {}

    fn wants_bytes(&self) -> bool {
        false
    }

    fn align(&mut self) {}

    fn repeat(&mut self, _: u32, _: u32) {}

    fn next_prompt(&mut self) {}

    fn media(&mut self, kind: MediaKind, hash: u64, tokens: u32) {
        if self.0.len() < MAX_ITEMS && !self.0.iter().any(|item| item.hash == hash) {
            self.0.push(MediaItem { kind, hash, tokens });
        }
    }
}

thread_local! {
    static WORK: RefCell<(LookupScratch, Vec<u32>)> = RefCell::default();
}

impl Producer for MmEmbeddings {
    fn reads(&self) -> DataSet {
        DataSet::PROMPT
    }

    fn produce(&self, request: &RequestView<'_>, endpoints: &[Arc<Endpoint>], out: &mut Attributes) {
        let Some(found) = out.encoder_mut(self.column) else { return };
        if !self.prompt.stream(request, &mut Media(&mut found.items)) || found.items.is_empty() {
            return;
        }
        found.matched_tokens.resize(endpoints.len(), 0);
        WORK.with_borrow_mut(|(lookup, matched)| {
            matched.resize(endpoints.len(), 0);
            for item in &found.items {
                let holders = endpoints.iter().map(|endpoint| endpoint.serial());
                self.index.longest(&[item.hash], holders, matched, lookup);
                let held = found.matched_tokens.iter_mut().zip(matched.iter()).filter(|(_, held)| **held > 0);
                held.for_each(|(tokens, _)| *tokens += u64::from(item.tokens));
                found.held.extend(matched.iter().map(|held| *held > 0));
            }
        });
    }

    fn memory(&self) -> Option<(usize, usize)> {
        let stats = self.index.stats();
        Some((stats.used_bytes, stats.limit_bytes))
    }
}

impl PreRequest for MmEmbeddings {
    fn picked(&self, request: &RequestView<'_>, targets: &Targets<'_>, attributes: &Attributes, _: &mut Outgoing) {
        let Some(found) = attributes.encoder(self.column).filter(|found| !found.items.is_empty()) else { return };
        for target in targets.primary.iter().filter_map(|index| targets.endpoints.get(*index as usize)) {
            for item in &found.items {
                self.index.record(target.serial(), &[item.hash], self.capacity);
            }
        }
        let (due, next) = (self.next_purge.load(Relaxed), (request.now + PURGE_EVERY).as_micros());
        if request.now.as_micros() >= due && self.next_purge.compare_exchange(due, next, Relaxed, Relaxed).is_ok() {
            let present: HashSet<u32> = targets.endpoints.iter().map(|endpoint| endpoint.serial()).collect();
            self.index.retain_holders(|holder| present.contains(&holder));
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_protocol::Api;

    use crate::testing::{Fixture, compile, refused};

    const SCORER: &str = "{type: mm-embeddings-cache-scorer}";

    /// A chat with images at these addresses; `static` images are 10 tokens each.
    fn images(fixture: &mut Fixture, urls: &[&str]) {
        let parts: Vec<String> =
            urls.iter().map(|url| format!(r#"{{"type":"image_url","image_url":{{"url":"{url}"}}}}"#)).collect();
        fixture.body(Api::ChatCompletions, &format!(r#"{{"messages":[{{"role":"user","content":[{}]}}]}}"#, parts.join(",")));
    }

    fn plan(parameters: &str) -> weir_plan::Plan {
        let tokens = "{type: token-producer, parameters: {estimate: {image: {mode: static, static: {staticToken: 10}}}}}";
        compile(&format!("plugins: [{tokens}, {{type: mm-embeddings-cache-producer, parameters: {parameters}}}, {SCORER}]"))
            .unwrap()
    }

    #[test]
    fn endpoints_that_saw_the_images_are_preferred() {
        let plan = plan("{}");
        let mut fixture = Fixture::new(3);
        images(&mut fixture, &["http://a", "http://b"]);
        fixture.produce(&plan);
        assert_eq!(fixture.score_with(&plan), [0.0; 3]);
        fixture.picked(&plan, 1);
        images(&mut fixture, &["http://a", "http://c", "http://a", "http://d", "http://b"]);
        fixture.produce(&plan);
        assert_eq!(fixture.score_with(&plan), [0.0, 0.5, 0.0], "two of four; repeated ones count once");
        fixture.chat("no images");
        fixture.produce(&plan);
        assert_eq!(fixture.score_with(&plan), [0.0; 3]);
    }

    #[test]
    fn what_does_not_fit_is_forgotten() {
        let plan = plan("{cacheSizeInMBPerServer: 2}");
        let mut fixture = Fixture::new(2);
        for url in ["http://a", "http://b"] {
            images(&mut fixture, &[url]);
            fixture.produce(&plan);
            fixture.picked(&plan, 0);
        }
        images(&mut fixture, &["http://a", "http://b"]);
        fixture.produce(&plan);
        assert_eq!(fixture.score_with(&plan), [0.5, 0.0]);
        assert!(refused("mm-embeddings-cache-producer", "{cacheSizeInMBPerServer: 1}").contains("at least 2"));
    }

    #[test]
    fn the_scorer_brings_its_producer_or_takes_another() {
        let added = compile(&format!("plugins: [{SCORER}]")).unwrap();
        assert_eq!(added.columns.encoder, ["mm-embeddings-cache-producer"]);
        let named = "{type: mm-embeddings-cache-producer, name: mine}, {type: mm-embeddings-cache-scorer, parameters: {producerName: mine}}";
        assert_eq!(compile(&format!("plugins: [{named}]")).unwrap().columns.encoder, ["mine"]);
    }
}
