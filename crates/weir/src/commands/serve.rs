//! `weir serve`: a router as a configuration file says.

use std::sync::Arc;

use weir_api::LogFormat;
use weir_plan::{CompileOptions, Registry};

use crate::{
    cli::Serve,
    configuration,
    failure::Failure,
    logging::{self, Format},
    system::{Opened, Origin, System},
};

pub(crate) async fn run(arguments: Serve, registry: Registry) -> Result<String, Failure> {
    let loaded = configuration::load(&arguments.config)?;
    let config = &loaded.config;
    let level = arguments.log_level.map_or(config.log.level.as_str(), |level| level.as_str());
    let format = if config.log.format == LogFormat::Json { Format::Json } else { Format::Text };
    let (logging, _writing) = logging::init(level, format)?;
    let opened = Opened::open(config, "listen in the configuration file")?;
    let path = arguments.config;
    let origin = Origin::Files {
        name: path.display().to_string(),
        path: Some(path.clone()),
        read: Arc::new(move || configuration::load(&path)),
        sets_level: arguments.log_level.is_none(),
    };
    let system = System::start(loaded, registry, CompileOptions::default(), origin, opened, logging).await?;
    system.announce();
    system.run().await?;
    Ok(String::new())
}
