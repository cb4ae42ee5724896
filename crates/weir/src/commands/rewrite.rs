//! `weir rewrite --dry-run`: what objects would make of a request.

use std::{collections::BTreeSet, fmt::Write as _};

use http::{HeaderMap, HeaderName, HeaderValue};
use weir_api::{Objects, Sources};
use weir_router::{ObjectsInForce, Preview};

use crate::{cli::Rewrite, configuration, failure::Failure};

pub(crate) fn run(arguments: &Rewrite) -> Result<String, Failure> {
    let headers = headers(&arguments.headers)?;
    let (objects, pools) = read(arguments)?;
    let pool = choose(arguments, &objects, &pools)?;
    let objectives: Vec<_> = objects.objectives.into_iter().filter(|one| one.pool.name == pool).collect();
    let rewrites: Vec<_> = objects.rewrites.into_iter().filter(|one| one.pool.name == pool).collect();
    let (compiled, found) = ObjectsInForce::compile(&objectives, &rewrites);
    let preview = compiled.preview(arguments.model.as_deref(), &headers);
    if arguments.json {
        let text = serde_json::to_string_pretty(&preview).map_err(|error| Failure::new(format!("cannot write JSON: {error}")))?;
        return Ok(text + "\n");
    }
    let mut out = text(&pool, arguments.model.as_deref(), &preview);
    for one in found {
        let _ = writeln!(out, "warning: {one}");
    }
    Ok(out)
}

fn text(pool: &str, model: Option<&str>, preview: &Preview) -> String {
    let asked = model.map_or_else(|| "no model".to_owned(), |model| format!("model {model}"));
    let mut out = format!("pool {pool}  {asked}  priority {}", preview.priority);
    match &preview.objective {
        Some(name) => out.push_str(&format!(" by the objective {name}\n")),
        None => out.push_str(", the request names no objective that exists\n"),
    }
    match (&preview.split, &preview.wanted) {
        (Some(split), _) => {
            let _ = writeln!(out, "{}, {}", split.rule, if split.exact { "for this model" } else { "for every model" });
            for (target, share) in &split.targets {
                let _ = writeln!(out, "{:6.2} %  {target}", share * 100.0);
            }
        }
        (None, Some(wanted)) => {
            let _ = writeln!(out, "no rule; by its header the request gets\n100.00 %  {wanted}");
        }
        (None, None) => out.push_str("no rule: the model is served as it is named\n"),
    }
    out
}

fn headers(given: &[String]) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for one in given {
        let wrong = || Failure::usage(format!("--header {one}: not `name: value`"));
        let (name, value) = one.split_once([':', '=']).ok_or_else(wrong)?;
        let name: HeaderName = name.trim().parse().map_err(|_| wrong())?;
        let value = HeaderValue::from_str(value.trim()).map_err(|_| wrong())?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// The objects, and the pools that there are.
fn read(arguments: &Rewrite) -> Result<(Objects, BTreeSet<String>), Failure> {
    let mut all = Objects::default();
    if let Some(config) = &arguments.config {
        let loaded = configuration::load(config)?;
        for file in loaded.config.objects {
            all.objectives.extend(file.objects.objectives);
            all.rewrites.extend(file.objects.rewrites);
        }
        return Ok((all, loaded.config.pools.iter().map(|pool| pool.name.value.clone()).collect()));
    }
    for path in &arguments.objects {
        let text =
            std::fs::read_to_string(path).map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
        let sources = Sources::single(path.display().to_string(), text);
        let text = sources.get(0).map_or("", |source| source.text.as_str());
        let objects = Objects::parse(text).map_err(|found| Failure::new(found.render(&sources)))?.value;
        all.objectives.extend(objects.objectives);
        all.rewrites.extend(objects.rewrites);
    }
    let pools = all.objectives.iter().map(|one| &one.pool).chain(all.rewrites.iter().map(|one| &one.pool));
    let pools = pools.map(|pool| pool.name.clone()).collect();
    Ok((all, pools))
}

/// The pool that was asked for; else the only one, or the only one with a rule for this model.
fn choose(arguments: &Rewrite, objects: &Objects, pools: &BTreeSet<String>) -> Result<String, Failure> {
    let names = pools.iter().map(|pool| format!("`{pool}`")).collect::<Vec<_>>().join(", ");
    if let Some(pool) = &arguments.pool {
        let known = pools.contains(pool);
        return if known {
            Ok(pool.clone())
        } else {
            Err(Failure::usage(format!("no pool is named `{pool}`; there are {names}")))
        };
    }
    if let Some(only) = pools.first().filter(|_| pools.len() == 1) {
        return Ok(only.clone());
    }
    let names_it = |rewrite: &&weir_api::Rewrite| {
        rewrite.rules.iter().any(|rule| rule.models.iter().any(|one| Some(one) == arguments.model.as_ref()))
    };
    let with_rule: BTreeSet<&str> = objects.rewrites.iter().filter(names_it).map(|one| one.pool.name.as_str()).collect();
    match with_rule.first() {
        Some(only) if with_rule.len() == 1 => Ok((*only).to_owned()),
        _ if pools.is_empty() => Err(Failure::new("there are no objects in these files")),
        _ => Err(Failure::usage(format!("there are several pools: {names}")).with_help("choose one with --pool")),
    }
}
