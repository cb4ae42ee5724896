//! `weir serve`: a router as a configuration file says.

use std::sync::Arc;

use weir_api::LogFormat;
use weir_plan::Registry;

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
    let logging = Arc::new(logging::init(level, format));
    let opened = Opened::open(config, "listen in the configuration file")?;
    let origin = Origin::File { path: arguments.config, sets_level: arguments.log_level.is_none() };
    let system = System::start(loaded, registry, origin, opened, logging).await?;
    system.announce();
    system.run().await?;
    Ok(String::new())
}
