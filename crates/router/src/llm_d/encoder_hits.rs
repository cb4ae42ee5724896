//! Images, videos and sounds, and how many of them the chosen endpoint had encoded before.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use parking_lot::Mutex;
use weir_plan::EncoderMatch;
use weir_pool::Endpoint;
use weir_protocol::MediaKind;

use super::{Histogram, MOST_SERIES, histogram::bounds};

const MODALITIES: [&str; 4] = ["image", "video", "audio", "other"];

/// Counts of one producer of encoder-cache matches.
#[derive(Debug)]
pub(crate) struct EncoderHits {
    queries: [AtomicU64; MODALITIES.len()],
    hits: Mutex<Vec<(Arc<Endpoint>, [u64; MODALITIES.len()])>>,
    /// Of each request that has media.
    pub(crate) ratio: Histogram,
}

impl Default for EncoderHits {
    fn default() -> Self {
        Self { queries: Default::default(), hits: Mutex::default(), ratio: Histogram::new(bounds::RATIO) }
    }
}

fn place(kind: MediaKind) -> usize {
    match kind {
        MediaKind::Image => 0,
        MediaKind::Video => 1,
        MediaKind::Audio => 2,
        _ => 3,
    }
}

impl EncoderHits {
    /// A request went to the endpoint at this place among `endpoints`.
    pub(crate) fn observe(&self, found: &EncoderMatch, endpoints: &[Arc<Endpoint>], chosen: usize) {
        let Some(endpoint) = endpoints.get(chosen).filter(|_| !found.items.is_empty()) else { return };
        let mut held = [0; MODALITIES.len()];
        for (item, media) in found.items.iter().enumerate() {
            let modality = place(media.kind);
            self.queries[modality].fetch_add(1, Relaxed);
            held[modality] += u64::from(found.holds(item, chosen, endpoints.len()));
        }
        let hits: u64 = held.iter().sum();
        self.ratio.observe(hits as f64 / found.items.len() as f64);
        if hits == 0 {
            return;
        }
        let mut all = self.hits.lock();
        let known = all.iter().position(|(one, _)| Arc::ptr_eq(one, endpoint));
        match known {
            Some(at) => all[at].1.iter_mut().zip(held).for_each(|(count, more)| *count += more),
            None if all.len() < MOST_SERIES => all.push((Arc::clone(endpoint), held)),
            None => {}
        }
    }

    /// Modality, and how many items of it requests had.
    pub(crate) fn queries(&self) -> Vec<(&'static str, u64)> {
        let counts = MODALITIES.into_iter().zip(&self.queries).map(|(modality, count)| (modality, count.load(Relaxed)));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// Endpoint, modality, and how many items it had encoded before. Endpoints that drain are forgotten.
    pub(crate) fn hits(&self) -> Vec<(Arc<Endpoint>, &'static str, u64)> {
        let mut all = self.hits.lock();
        all.retain(|(endpoint, _)| !endpoint.health.is_draining());
        let row = |(endpoint, counts): &(Arc<Endpoint>, [u64; MODALITIES.len()])| {
            let counts = MODALITIES.into_iter().zip(*counts).filter(|(_, count)| *count > 0);
            counts.map(|(modality, count)| (Arc::clone(endpoint), modality, count)).collect::<Vec<_>>()
        };
        all.iter().flat_map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use weir_plan::MediaItem;
    use weir_pool::{EndpointSpec, EndpointUrl};

    use super::*;

    #[test]
    fn items_count_where_the_request_went() {
        let endpoint = |name: &str| Arc::new(Endpoint::new(EndpointSpec::new(name, EndpointUrl::http("10.0.0.1", 8_000))));
        let endpoints = ["a", "b"].map(endpoint);
        let item = |kind, hash| MediaItem { kind, hash, tokens: 10 };
        let items = vec![item(MediaKind::Image, 1), item(MediaKind::Image, 2), item(MediaKind::Video, 3)];
        // `a` holds the first two, `b` only the last.
        let found = EncoderMatch { items, held: vec![true, false, true, false, false, true], ..EncoderMatch::default() };
        let hits = EncoderHits::default();
        hits.observe(&EncoderMatch::default(), &endpoints, 0);
        hits.observe(&found, &endpoints, 0);
        hits.observe(&found, &endpoints, 1);
        hits.observe(&EncoderMatch { held: Vec::new(), ..found }, &endpoints, 1);
        assert_eq!(hits.queries(), [("image", 6), ("video", 3)]);
        let read: Vec<_> = hits.hits().into_iter().map(|(one, what, count)| (one.spec().name.clone(), what, count)).collect();
        assert_eq!(read, [("a".to_owned(), "image", 2), ("b".to_owned(), "video", 1)]);
        let ratio = hits.ratio.read();
        assert_eq!(ratio.count(), 3);
        assert!((ratio.sum - 1.0).abs() < 1e-9, "{ratio:?}");
        endpoints[0].health.drain();
        assert_eq!(hits.hits().len(), 1);
    }
}
