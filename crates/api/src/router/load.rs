//! From text to a checked configuration with every file it names found.

use std::{
    fmt, io,
    io::Read,
    path::{Path, PathBuf},
};

use super::{PoolSpec, RouterConfig, Scheduling};
use crate::{Diagnostics, EndpointPickerConfig, Objects, Sources, Spanned, Standing, yaml};

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration: paths are absolute or relative to the working folder, scheduling files are read.
    pub config: RouterConfig,
    /// What its author should know.
    pub warnings: Diagnostics,
    /// The texts that spans of the configuration point into.
    pub sources: Sources,
}

/// A configuration that cannot be used. Displayed with the source lines.
#[derive(Clone, Debug)]
pub struct LoadError {
    /// Everything that is wrong.
    pub diagnostics: Diagnostics,
    /// The texts that it is wrong in.
    pub sources: Sources,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.diagnostics.render(&self.sources))
    }
}

impl std::error::Error for LoadError {}

/// The JSON Schema of [`RouterConfig`].
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(RouterConfig).to_value()
}

impl RouterConfig {
    /// Reads and checks a configuration.
    ///
    /// `name` is what messages call it; relative paths in it begin at `base`; `read` reads the files of scheduling
    /// sections.
    ///
    /// # Errors
    /// Everything that is wrong with it and with the scheduling files.
    pub fn parse(
        name: &str,
        text: &str,
        base: &Path,
        read: &mut dyn FnMut(&Path) -> io::Result<String>,
    ) -> Result<Loaded, LoadError> {
        let mut sources = Sources::single(name, text);
        let mut found = Diagnostics::new();
        let config = Self::read(text, base, read, &mut sources, &mut found);
        found.sort();
        match config {
            Some(config) if !found.has_errors() => Ok(Loaded { config, warnings: found, sources }),
            _ => Err(LoadError { diagnostics: found, sources }),
        }
    }

    /// [`RouterConfig::parse`] for a file.
    ///
    /// # Errors
    /// When a file cannot be read, and as [`RouterConfig::parse`].
    pub fn load_file(path: &Path) -> Result<Loaded, LoadError> {
        let name = path.display().to_string();
        match read_text(path) {
            Ok(text) => Self::parse(&name, &text, path.parent().unwrap_or(Path::new("")), &mut read_text),
            Err(error) => {
                let at = crate::Span::default();
                let diagnostic = crate::Diagnostic::error(at, "", format!("cannot be read: {error}"));
                Err(LoadError { diagnostics: diagnostic.into(), sources: Sources::single(name, "") })
            }
        }
    }

    fn read(
        text: &str,
        base: &Path,
        read: &mut dyn FnMut(&Path) -> io::Result<String>,
        sources: &mut Sources,
        found: &mut Diagnostics,
    ) -> Option<Self> {
        let doc = yaml::parse(text).map_err(|e| found.push(e)).ok()?;
        let (config, decoded) = yaml::decode::<Self>(&doc, "", yaml::Case::Sensitive);
        let failed = decoded.has_errors();
        found.extend(decoded);
        let mut config = config.filter(|_| !failed)?;
        config.check(&doc, found);
        for path in config.paths_mut() {
            path.value = base.join(&path.value);
        }
        for file in &mut config.objects {
            if let Some(objects) = read_objects(&file.path, read, sources, found) {
                file.objects = objects;
            }
        }
        config.check_objects(found);
        for (index, pool) in config.pools.iter_mut().enumerate() {
            strip_v1(pool);
            let node = doc.get("pools").and_then(|p| p.items().get(index)).and_then(|p| p.get("scheduling"));
            match (&mut pool.scheduling, node) {
                (Scheduling::Inline(inline), Some(node)) if node.value != yaml::Value::Null => {
                    inline.check(node, &format!("pools[{index}].scheduling"), Standing::Inside, found);
                }
                (Scheduling::Inline(_), _) => {}
                (Scheduling::File { path, config }, _) => {
                    if let Some(read) = read_scheduling(path, read, sources, found) {
                        **config = read;
                    }
                }
            }
        }
        Some(config)
    }

    /// Every file that this configuration names, so that changes can be watched. Scheduling files are among them.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.clone().paths_mut().into_iter().map(|p| p.value.clone()).collect()
    }

    fn paths_mut(&mut self) -> Vec<&mut Spanned<PathBuf>> {
        let mut paths: Vec<&mut Spanned<PathBuf>> = Vec::new();
        if let Some(https) = &mut self.listen.https {
            paths.extend([&mut https.cert_file, &mut https.key_file]);
        }
        paths.extend(&mut self.auth.keys_file);
        paths.extend([&mut self.ext_proc.cert_file, &mut self.ext_proc.key_file].into_iter().flatten());
        paths.extend(self.objects.iter_mut().map(|file| &mut file.path));
        for pool in &mut self.pools {
            paths.extend(&mut pool.api_key_file);
            paths.extend(pool.endpoints.file.as_mut().map(|f| &mut f.path));
            let tls = &mut pool.tls;
            paths.extend([&mut tls.ca_file, &mut tls.cert_file, &mut tls.key_file].into_iter().flatten());
            if let Scheduling::File { path, .. } = &mut pool.scheduling {
                paths.push(path);
            }
        }
        paths
    }
}

/// Drops the `/v1` that OpenAI clients' base URLs end in; its author has been warned.
fn strip_v1(pool: &mut PoolSpec) {
    for endpoint in pool.endpoints.fixed.iter_mut().flat_map(|list| &mut list.value) {
        if let Some(shorter) = endpoint.url.without_v1() {
            endpoint.url.value = shorter;
        }
    }
}

fn read_objects(
    path: &Spanned<PathBuf>,
    read: &mut dyn FnMut(&Path) -> io::Result<String>,
    sources: &mut Sources,
    found: &mut Diagnostics,
) -> Option<Objects> {
    let text = read(&path.value)
        .map_err(|error| found.push(path.error(format!("{} cannot be read: {error}", path.value.display()))))
        .ok()?;
    let source = sources.add(path.value.display().to_string(), text.as_str());
    let checked = Objects::parse_source(&text, source).map_err(|errors| found.extend(errors)).ok()?;
    found.extend(checked.warnings);
    Some(checked.value)
}

fn read_scheduling(
    path: &Spanned<PathBuf>,
    read: &mut dyn FnMut(&Path) -> io::Result<String>,
    sources: &mut Sources,
    found: &mut Diagnostics,
) -> Option<EndpointPickerConfig> {
    let text = read(&path.value)
        .map_err(|error| found.push(path.error(format!("{} cannot be read: {error}", path.value.display()))))
        .ok()?;
    let source = sources.add(path.value.display().to_string(), text.as_str());
    let node = yaml::parse_source(&text, source).map_err(|e| found.push(e)).ok()?;
    match EndpointPickerConfig::from_node(&node, "", Standing::Inside) {
        Ok(checked) => {
            found.extend(checked.warnings);
            Some(checked.value)
        }
        Err(errors) => {
            found.extend(errors);
            None
        }
    }
}

/// A text file, a little further than [`yaml::MAX_BYTES`], so that a larger one is refused by the parser.
fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(yaml::MAX_BYTES as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}
