use std::{fs, os::unix::fs::symlink};

use super::*;
use crate::scratch::Scratch;

const SOON: Duration = Duration::from_secs(10);

async fn changed(watch: &mut FileWatch) {
    timeout(SOON, watch.changed()).await.expect("the change was not noticed");
}

#[tokio::test]
async fn edits_renames_and_recreation() {
    let dir = Scratch::new();
    let file = dir.path("a.yaml");
    fs::write(&file, "one").unwrap();
    let mut watch = FileWatch::new([file.clone()]).await;

    fs::write(&file, "two").unwrap();
    changed(&mut watch).await;

    fs::write(dir.path("a.tmp"), "three").unwrap();
    fs::rename(dir.path("a.tmp"), &file).unwrap();
    changed(&mut watch).await;

    fs::remove_file(&file).unwrap();
    changed(&mut watch).await;
    fs::write(&file, "four").unwrap();
    changed(&mut watch).await;
}

#[tokio::test]
async fn a_mounted_config_map() {
    let dir = Scratch::new();
    for (version, text) in [("..1", "one"), ("..2", "two"), ("..3", "six")] {
        fs::create_dir(dir.path(version)).unwrap();
        fs::write(dir.path(version).join("a.yaml"), text).unwrap();
    }
    symlink("..1", dir.path("..data")).unwrap();
    symlink("..data/a.yaml", dir.path("a.yaml")).unwrap();
    let mut watch = FileWatch::new([dir.path("a.yaml")]).await;
    for version in ["..2", "..3"] {
        symlink(version, dir.path("..data_tmp")).unwrap();
        fs::rename(dir.path("..data_tmp"), dir.path("..data")).unwrap();
        changed(&mut watch).await;
    }
    // The directory that the link leads to is watched too.
    fs::write(dir.path("..3/a.yaml"), "ten").unwrap();
    changed(&mut watch).await;
}

#[tokio::test]
async fn a_file_that_does_not_exist_yet() {
    let dir = Scratch::new();
    let mut watch = FileWatch::new([dir.path("a.yaml"), dir.path("b.yaml")]).await;
    fs::write(dir.path("b.yaml"), "").unwrap();
    changed(&mut watch).await;
}

#[tokio::test]
async fn other_files_in_the_directory_do_not_matter() {
    let dir = Scratch::new();
    let file = dir.path("a.yaml");
    fs::write(&file, "one").unwrap();
    let mut watch = FileWatch::new([file.clone()]).await;
    fs::write(dir.path("noise"), "x").unwrap();
    // Long enough for the noise to have been looked at and passed over.
    assert!(timeout(QUIET * 3, watch.changed()).await.is_err());
    // And an event that was half handled is not lost.
    fs::write(&file, "two").unwrap();
    assert!(timeout(QUIET / 10, watch.changed()).await.is_err());
    changed(&mut watch).await;
}

#[tokio::test]
async fn changes_are_found_without_events() {
    let dir = Scratch::new();
    let file = dir.path("a.yaml");
    fs::write(&file, "one").unwrap();
    let mut watch = FileWatch::new([file.clone()]).await;
    watch.watcher = None;
    watch.watched.clear();
    // What the watcher saw before it went is not what this is about.
    while watch.events.try_recv().is_ok() {}
    watch.seen.certain.store(false, Relaxed);
    fs::write(&file, "other").unwrap();
    changed(&mut watch).await;
}

#[tokio::test]
async fn the_task_ends_with_its_receiver() {
    let dir = Scratch::new();
    let file = dir.path("a.yaml");
    let mut changes = watch_files([file.clone()]).await;
    fs::write(&file, "one").unwrap();
    assert_eq!(timeout(SOON, changes.recv()).await, Ok(Some(())));
    let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    drop(changes);
    timeout(SOON, async {
        while tokio::runtime::Handle::current().metrics().num_alive_tasks() == before {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}
