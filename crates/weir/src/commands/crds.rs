//! `weir crds`: the Kubernetes definitions of the objects that weir reads.

use std::fs;

use weir_crds::{Bundle, crds, to_yaml};

use crate::{cli::Crds, failure::Failure};

pub(crate) fn run(arguments: &Crds) -> Result<String, Failure> {
    let mut all = crds(Bundle::Current);
    if arguments.legacy {
        all.extend(crds(Bundle::Legacy));
    }
    let Some(folder) = &arguments.dir else {
        let documents: Vec<String> = all.iter().map(|(_, crd)| to_yaml(crd)).collect();
        return Ok(documents.join("---\n"));
    };
    let cannot = |error| Failure::new(format!("cannot write into {}: {error}", folder.display()));
    fs::create_dir_all(folder).map_err(cannot)?;
    let mut names = String::new();
    for (name, crd) in all {
        let path = folder.join(format!("{name}.yaml"));
        fs::write(&path, to_yaml(&crd)).map_err(cannot)?;
        names.push_str(&format!("{}\n", path.display()));
    }
    Ok(names)
}
