//! Every committed seed through its target, without a fuzzing engine.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use voxwire_fuzz::{TARGETS, Target};

/// A seed tells one thing.
const SEED_BYTES: u64 = 4096;
/// A target with fewer seeds lost them.
const FEWEST_SEEDS: usize = 12;

fn seeds_of(name: &str) -> io::Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
    let mut seeds = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>()?;
    seeds.sort();
    Ok(seeds)
}

fn replay(name: &str, target: Target) -> io::Result<()> {
    let seeds = seeds_of(name)?;
    assert!(seeds.len() >= FEWEST_SEEDS, "{name} has {} seeds", seeds.len());
    for seed in seeds {
        let data = fs::read(&seed)?;
        assert!(
            data.len() as u64 <= SEED_BYTES,
            "{} has {} bytes",
            seed.display(),
            data.len()
        );
        assert!(
            catch_unwind(|| target(&data)).is_ok(),
            "{} breaks a rule",
            seed.display()
        );
    }
    Ok(())
}

macro_rules! replay {
    ($($name:ident),+ $(,)?) => {
        $(#[test]
        fn $name() -> io::Result<()> {
            let name = stringify!($name);
            let (_, target) = TARGETS.into_iter().find(|(target, _)| *target == name).expect("the target exists");
            replay(name, target)
        })+

        #[test]
        fn every_target_is_replayed_has_seeds_and_is_fuzzed() -> io::Result<()> {
            let names: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
            let replayed: BTreeSet<String> = [$(stringify!($name).to_owned()),+].into();
            assert_eq!(names, replayed);
            for folder in ["seeds", "fuzz_targets"] {
                let found = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))?
                    .map(|entry| Ok(entry?.path().file_stem().unwrap_or_default().to_string_lossy().into_owned()))
                    .collect::<io::Result<BTreeSet<String>>>()?;
                assert_eq!(found, names, "in {folder}");
            }
            Ok(())
        }
    };
}

replay!(
    base64,
    connection,
    frames_client,
    frames_server,
    g711,
    http_request,
    http_response,
    json_client_message,
    json_server_message,
    rtcp,
    srtcp,
);
