//! From the configuration to the gateway's and the scraper's settings.

use std::{path::Path, sync::Arc, time::Duration};

use http::HeaderValue;
use weir_api::{PoolSpec, PoolTls, RouterConfig};
use weir_engine_metrics::{
    EngineMapping, EngineMappings, ModelsOptions, NumberSpec, PageOptions, PageReader, ScrapeOptions, Secret,
};
use weir_gateway::{ApiKeys, Settings, Upstream, UpstreamTls};
use weir_plan::{EngineSpec, MetricsSource, ModelsSource, NumberConfig, PageConfig, PageSource, Plan, SourceTls};
use weir_pool::{BreakerConfig, Scheme};
use weir_tls::{ClientTls, TlsError};

use crate::failure::Failure;

pub(super) fn gateway(config: &RouterConfig) -> Result<Settings, Failure> {
    let keys = match &config.auth.keys_file {
        None => None,
        Some(file) => Some(ApiKeys::new(key_lines(&file.value)?)),
    };
    Ok(Settings::new(&config.gateway, keys))
}

/// How the endpoints of one pool are spoken to.
pub(super) struct Towards {
    pub(super) upstream: Upstream,
    pub(super) scrape: ScrapeOptions,
    pub(super) stale_after: Duration,
}

pub(super) fn towards(pool: &PoolSpec, plan: &Plan, breaker: BreakerConfig) -> Result<Towards, Failure> {
    let key = match &pool.api_key_file {
        None => None,
        Some(file) => Some(single_key(&file.value)?),
    };
    let authorization = match &key {
        None => None,
        Some(key) => Some(bearer(key)?),
    };
    let source = plan.metrics.clone();
    let tls = tls(pool)?;
    let scraping = scrape_tls(pool, source.as_ref(), tls.as_ref())?;
    let metrics = &pool.metrics;
    let defaults = MetricsSource::default();
    let from = source.as_ref().unwrap_or(&defaults);
    let mappings = mappings(from).map_err(|why| Failure::new(format!("pool `{}`: {why}", pool.name)))?;
    let scrape = ScrapeOptions {
        // Without a reader of metrics endpoints are still probed for readiness.
        enabled: metrics.enabled && source.is_some(),
        interval: from.interval.unwrap_or(metrics.interval.value.get()),
        adaptive: metrics.adaptive,
        idle_interval: metrics.idle_interval.value.get(),
        timeout: metrics.timeout.value.get(),
        path: metrics.path.as_ref().map(|path| path.value.clone()).or_else(|| from.path.clone()),
        scheme: from.scheme.as_deref().map(scheme_of),
        port: from.port,
        api_key: key.as_deref().map(Secret::new).transpose().map_err(|error| Failure::new(error.to_string()))?,
        tls: scraping.as_ref().map(|tls| Arc::clone(&tls.config)),
        tls_server_name: scraping.and_then(|tls| tls.server_name),
        mappings: Arc::new(mappings),
        pages: plan.pages.iter().map(|one| page(pool, one, tls.as_ref())).collect::<Result<_, _>>()?,
        models: models(pool, plan.models.as_ref())?,
    };
    Ok(Towards {
        upstream: Upstream { authorization, tls, breaker },
        scrape,
        stale_after: metrics.staleness_threshold.value.get(),
    })
}

/// TLS is set up only where something is spoken to by it: the system may have no root certificates.
fn tls(pool: &PoolSpec) -> Result<Option<UpstreamTls>, Failure> {
    let endpoints = pool.static_entries().unwrap_or_default();
    let wanted = pool.tls != PoolTls::default() || endpoints.iter().any(|one| one.url.scheme == weir_api::Scheme::Https);
    if !wanted {
        return Ok(None);
    }
    let config =
        ClientTls::from(&pool.tls).build().map_err(|error| Failure::new(format!("pool `{}`: tls: {error}", pool.name)))?;
    Ok(Some(UpstreamTls { config, server_name: pool.tls.server_name.as_ref().map(|name| name.value.clone()) }))
}

/// TLS for metrics pages: what the pool says goes for them too; where it says nothing, what their source says.
fn scrape_tls(
    pool: &PoolSpec,
    source: Option<&MetricsSource>,
    upstream: Option<&UpstreamTls>,
) -> Result<Option<UpstreamTls>, Failure> {
    match source.filter(|source| source.scheme.as_deref() == Some("https")) {
        Some(source) if pool.tls == PoolTls::default() => {
            let config = source_tls(&source.tls);
            let config = config.map_err(|error| Failure::new(format!("pool `{}`: metrics by https: {error}", pool.name)))?;
            Ok(Some(UpstreamTls { config, server_name: None }))
        }
        _ => Ok(upstream.cloned()),
    }
}

/// A page besides the engine's own.
fn page(pool: &PoolSpec, source: &PageSource, upstream: Option<&UpstreamTls>) -> Result<Arc<PageOptions>, Failure> {
    let failed = |why: String| Failure::new(format!("pool `{}`: {}: {why}", pool.name, source.name));
    let PageConfig { scheme, path, port, interval, tls, by_label } = &source.page;
    let readers = source.readers.iter().map(|one| reader(one).map_err(&failed)).collect::<Result<_, _>>()?;
    let tls = match scheme.as_deref() {
        Some("https") => Some(source_tls(tls).map_err(|error| failed(error.to_string()))?),
        _ => upstream.map(|tls| Arc::clone(&tls.config)),
    };
    Ok(Arc::new(PageOptions {
        source: source.kind,
        scheme: scheme.as_deref().map(scheme_of),
        path: path.clone(),
        port: *port,
        by_label: *by_label,
        interval: interval.unwrap_or(pool.metrics.interval.value.get()),
        with_key: source.kind == "metrics-data-source",
        tls,
        readers,
    }))
}

fn reader(reader: &weir_plan::PageReader) -> Result<PageReader, String> {
    match reader {
        weir_plan::PageReader::Engines(engines) => mappings(engines).map(|mappings| PageReader::Engines(Arc::new(mappings))),
        weir_plan::PageReader::Numbers(extractor, numbers) => {
            let number = |one: &NumberConfig| {
                let family = one.family.parse().map_err(|error| format!("{extractor}: {error}"))?;
                Ok(NumberSpec { name: one.name.clone(), family, divisor: one.divisor, of_pod: one.of_pod })
            };
            let numbers = numbers.iter().map(number).collect::<Result<_, String>>()?;
            Ok(PageReader::Numbers { extractor, numbers })
        }
    }
}

fn models(pool: &PoolSpec, source: Option<&ModelsSource>) -> Result<ModelsOptions, Failure> {
    let defaults = ModelsOptions::default();
    let Some(source) = source else { return Ok(defaults) };
    let tls = match source.scheme.as_deref() {
        Some("https") if pool.tls == PoolTls::default() => {
            let failed = |error: TlsError| Failure::new(format!("pool `{}`: lists of models by https: {error}", pool.name));
            Some(source_tls(&source.tls).map_err(failed)?)
        }
        _ => None,
    };
    Ok(ModelsOptions {
        scheme: source.scheme.as_deref().map(scheme_of),
        path: source.path.clone().unwrap_or(defaults.path),
        interval: source.interval.unwrap_or(defaults.interval),
        tls,
        details: source.details,
    })
}

fn scheme_of(scheme: &str) -> Scheme {
    if scheme == "https" { Scheme::Https } else { Scheme::Http }
}

fn source_tls(tls: &SourceTls) -> Result<Arc<rustls::ClientConfig>, TlsError> {
    let SourceTls { insecure_skip_verify, ca_file, identity } = tls.clone();
    ClientTls { ca_file, insecure_skip_verify, identity }.build()
}

fn bearer(key: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::from_str(&format!("Bearer {key}"))
        .map_err(|_| Failure::new("an API key holds characters that no header can have"))?;
    value.set_sensitive(true);
    Ok(value)
}

pub(crate) fn mappings(source: &MetricsSource) -> Result<EngineMappings, String> {
    let engines = source.engines.iter().map(mapping).collect::<Result<Vec<_>, _>>()?;
    EngineMappings::new(&source.engine_label_key, &source.default_engine, engines).map_err(|error| error.to_string())
}

fn mapping(engine: &EngineSpec) -> Result<EngineMapping, String> {
    let parse = |text: &str| text.parse().map_err(|error| format!("engine `{}`: {error}", engine.name));
    let spec = |text: &Option<String>| text.as_deref().map(parse).transpose();
    Ok(EngineMapping {
        name: engine.name.clone(),
        path: None,
        queued: spec(&engine.queued)?,
        running: spec(&engine.running)?,
        kv_usage: spec(&engine.kv_usage)?,
        lora: spec(&engine.lora)?,
        cache_info: spec(&engine.cache_info)?,
        cache_block_size_label: engine.cache_block_size_label.clone(),
        cache_num_blocks_label: engine.cache_num_blocks_label.clone(),
        cache_block_size: spec(&engine.cache_block_size)?,
        cache_num_blocks: spec(&engine.cache_num_blocks)?,
        custom: engine.custom.iter().map(|(name, text)| Ok((name.clone(), parse(text)?))).collect::<Result<_, String>>()?,
    })
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))
}

/// One key a line; empty lines and lines that begin with `#` do not count.
fn key_lines(path: &Path) -> Result<Vec<String>, Failure> {
    let text = read(path)?;
    let keys: Vec<String> =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect();
    if keys.is_empty() {
        return Err(Failure::new(format!("{} holds no key", path.display()))
            .with_help("write one API key per line; without auth.keysFile everybody may call"));
    }
    Ok(keys)
}

fn single_key(path: &Path) -> Result<String, Failure> {
    let keys = key_lines(path)?;
    match <[String; 1]>::try_from(keys) {
        Ok([key]) => Ok(key),
        Err(keys) => Err(Failure::new(format!("{} holds {} keys; a pool's endpoints get one", path.display(), keys.len()))),
    }
}
