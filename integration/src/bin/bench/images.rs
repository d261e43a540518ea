//! Images: pulled, loaded and saved, in turn with the usual tools; and the additional time of a start of one over a
//! start of a directory.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use integration::images::{Tape, pack};
use integration::{Image, Registry};
use serde_json::json;

use crate::child::{Usage, measure};
use crate::daemon::Daemon;
use crate::figures::{Sample, ms, row, section};
use crate::place::{Place, run};

const PULL_RATIO: f64 = 1.0;
const PEAK_MIB: f64 = 100.0;
const RUN_MS: f64 = 3.0;
const LAYERS: u64 = 10;
/// Files of a layer, and bytes of each.
const FILES: u64 = 300;
const FILE: usize = 100 << 10;
const RUN_ROUNDS: usize = 40;
/// Unmeasured rounds before the others.
const WARM_UP: usize = 2;
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) async fn images(place: &Place, runtime: &str, rounds: usize) -> anyhow::Result<()> {
    let large = large_image(place)?;
    let registry = Registry::start();
    registry.push(&large, "bench/large:1");
    let settings = fs::read(place.settings())?;
    fs::write(place.settings(), json!({"insecure-registries": [registry.host()]}).to_string())?;
    let daemon = Daemon::start(place, "images").await?;
    let bench = Bench { place, daemon: &daemon, registry: &registry, large: &large };
    bench.pulls(rounds)?;
    bench.archives(rounds)?;
    bench.starts(runtime).await?;
    daemon.remove_all().await?;
    fs::write(place.settings(), settings)?;
    Ok(())
}

/// Half of it compresses well, half not at all.
fn large_image(place: &Place) -> anyhow::Result<Image> {
    let mut image = Image::empty(&place.path("large"));
    for layer in 0..LAYERS {
        let mut tape = Tape::new().directory(&format!("layer-{layer}/"));
        for file in 0..FILES {
            tape = tape.file(&format!("layer-{layer}/{file}"), &contents(layer * FILES + file));
        }
        image = image.tape(&tape.finish());
    }
    Ok(image)
}

fn contents(seed: u64) -> Vec<u8> {
    if seed.is_multiple_of(2) {
        let line = format!("line of file {seed}, which is like the others but for its number\n");
        return line.into_bytes().into_iter().cycle().take(FILE).collect();
    }
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::from_fn(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Some(state.to_le_bytes())
    });
    words.flatten().take(FILE).collect()
}

struct Bench<'a> {
    place: &'a Place,
    daemon: &'a Daemon<'a>,
    registry: &'a Registry,
    large: &'a Image,
}

/// One way to do something, over all rounds.
#[derive(Default)]
struct Way {
    time: Sample,
    peak: Sample,
}

impl Way {
    fn push(&mut self, taken: Usage) {
        self.time.push(taken.time.as_secs_f64());
        self.peak.push(taken.peak_mib);
    }
}

impl Bench<'_> {
    fn name(&self) -> String {
        self.registry.name("bench/large:1")
    }

    fn scratch(&self, name: &str) -> PathBuf {
        self.place.path(&format!("scratch-{name}"))
    }

    /// Takes the last round's directory away, and waits until the disk has nothing to do.
    fn settle(&self, names: &[&str]) -> anyhow::Result<()> {
        for name in names {
            let dir = self.scratch(name);
            if dir.exists() {
                fs::remove_dir_all(dir)?;
            }
        }
        run(Command::new("sync").arg("--file-system").arg(self.place.path(""))).map(drop)
    }

    /// `isula` with these words: its time, and the daemon's memory at its largest meanwhile.
    fn isula(&self, words: &[&str]) -> anyhow::Result<Usage> {
        let status = format!("/proc/{}", self.daemon.pid());
        fs::write(format!("{status}/clear_refs"), "5").context("cannot reset the peak of the daemon's memory")?;
        let begun = Instant::now();
        run(&mut self.daemon.isula(words))?;
        let time = begun.elapsed();
        let text = fs::read_to_string(format!("{status}/status"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("there is no VmHWM")?;
        let kib: f64 = line.split_whitespace().next().context("there is no number")?.parse()?;
        Ok(Usage { time, peak_mib: kib / 1024.0 })
    }

    fn pulls(&self, rounds: usize) -> anyhow::Result<()> {
        let podman = Command::new("podman").arg("--version").output().is_ok_and(|output| output.status.success());
        let (mut ours, mut tools, mut podmans) = (Way::default(), Way::default(), Way::default());
        let mut ratios = Sample::default();
        for round in 0..rounds {
            let mut times = [f64::INFINITY; 3];
            for way in 0..3 {
                self.settle(&["oci", "rootfs", "podman"])?;
                let way = (way + round) % 3;
                let taken = match way {
                    0 => self.pull()?,
                    1 => self.copy_and_unpack(&format!("docker://{}", self.name()))?,
                    _ if podman => self.podman()?,
                    _ => continue,
                };
                times[way] = taken.time.as_secs_f64();
                [&mut ours, &mut tools, &mut podmans][way].push(taken);
            }
            ratios.push(times[0] / times[1].min(times[2]));
        }
        let compressed: u64 = self.large.layers().iter().map(|(_, size)| size).sum();
        let unpacked = LAYERS * FILES * FILE as u64;
        section(
            &format!("7. pull of {LAYERS} layers, {} MB, {} MB unpacked", compressed / 1_000_000, unpacked / 1_000_000),
            "from docker-registry on loopback, in turn and in an order that rotates; the disk is idle before each. What\n  \
             isula pulls is durable when it returns, the others do not sync. Memory: VmHWM of the daemon, reset before;\n  \
             of the others the largest process",
        );
        row("isula pull", "s", &ours.time, None);
        row("skopeo copy, umoci unpack", "s", &tools.time, None);
        if podman {
            row("podman pull", "s", &podmans.time, None);
        } else {
            println!("  podman is not on this machine");
        }
        row("isula pull over the fastest of a round", "", &ratios, Some(PULL_RATIO));
        row("daemon, peak", "MiB", &ours.peak, Some(PEAK_MIB));
        row("skopeo or umoci, peak", "MiB", &tools.peak, None);
        if podman {
            row("podman, peak", "MiB", &podmans.peak, None);
        }
        Ok(())
    }

    fn pull(&self) -> anyhow::Result<Usage> {
        let taken = self.isula(&["pull", "-q", &self.name()])?;
        run(&mut self.daemon.isula(&["rmi", &self.name()]))?;
        Ok(taken)
    }

    /// From one of skopeo's sources to a directory.
    fn copy_and_unpack(&self, source: &str) -> anyhow::Result<Usage> {
        let (layout, rootfs) = (self.scratch("oci"), self.scratch("rootfs"));
        let target = format!("oci:{}:it", layout.display());
        let copy = ["skopeo", "copy", "--quiet", "--insecure-policy", "--src-tls-verify=false", source, &target];
        let copied = measure(&copy)?;
        let image = format!("{}:it", layout.display());
        let unpacked = measure(&["umoci", "raw", "unpack", "--image", &image, &rootfs.display().to_string()])?;
        Ok(Usage { time: copied.time + unpacked.time, peak_mib: copied.peak_mib.max(unpacked.peak_mib) })
    }

    fn podman(&self) -> anyhow::Result<Usage> {
        let (root, runroot) = (self.scratch("podman"), self.place.run().join("podman"));
        let (root, runroot) = (root.display().to_string(), runroot.display().to_string());
        let place = ["podman", "--root", &root, "--runroot", &runroot, "--storage-driver=overlay"];
        let taken = measure(&[&place[..], &["pull", "--quiet", "--tls-verify=false", &self.name()]].concat())?;
        run(Command::new("podman").args(&place[1..]).args(["rmi", "--all", "--force"]))?;
        Ok(taken)
    }

    fn archives(&self, rounds: usize) -> anyhow::Result<()> {
        let archive = self.scratch("archive.tar");
        let file = archive.display().to_string();
        let (mut save, mut load) = (Way::default(), Way::default());
        let (mut other_save, mut other_load) = (Way::default(), Way::default());
        run(&mut self.daemon.isula(&["pull", "-q", &self.name()]))?;
        for _ in 0..rounds {
            self.settle(&["oci", "rootfs"])?;
            save.push(self.isula(&["save", "-o", &file, &self.name()])?);
            run(&mut self.daemon.isula(&["rmi", &self.name()]))?;
            self.settle(&[])?;
            load.push(self.isula(&["load", "-q", "-i", &file])?);
            fs::remove_file(&archive)?;
            self.settle(&[])?;
            let words = ["skopeo", "copy", "--quiet", "--insecure-policy", &self.large.source()];
            other_save.push(measure(&[&words[..], &[&format!("docker-archive:{file}:x:1")]].concat())?);
            self.settle(&[])?;
            other_load.push(self.copy_and_unpack(&format!("docker-archive:{file}"))?);
            fs::remove_file(&archive)?;
        }
        run(&mut self.daemon.isula(&["rmi", &self.name()]))?;
        section("8. save and load of the same image", "docker-archives, in turn; the disk is idle before each");
        row("isula save", "s", &save.time, None);
        row("skopeo copy to an archive", "s", &other_save.time, None);
        row("isula load", "s", &load.time, None);
        row("skopeo copy from an archive, umoci unpack", "s", &other_load.time, None);
        row("daemon, peak of a save", "MiB", &save.peak, Some(PEAK_MIB));
        row("daemon, peak of a load", "MiB", &load.peak, Some(PEAK_MIB));
        Ok(())
    }

    /// Starts of an image of one layer, and of one of ten, against the same files as a directory.
    async fn starts(&self, runtime: &str) -> anyhow::Result<()> {
        let (dir, archive) = (self.place.path("small"), self.place.path("small.tar"));
        pack(&self.place.rootfs(), &archive);
        let mut image = Image::empty(&dir).layer(&archive);
        self.registry.push(&image, "bench/one:1");
        for layer in 1..LAYERS {
            image = image.tape(&Tape::new().directory("etc/").file(&format!("etc/{layer}"), b"here\n").finish());
        }
        self.registry.push(&image, "bench/ten:1");
        let names = [self.registry.name("bench/one:1"), self.registry.name("bench/ten:1")];
        for name in &names {
            run(&mut self.daemon.isula(&["pull", "-q", name]))?;
        }
        let rootfs = self.place.rootfs().display().to_string();
        let ways: [&[&str]; 3] = [&["--external-rootfs", &rootfs, "none"], &[&names[0]], &[&names[1]]];
        let mut times = [const { Vec::new() }; 3];
        for round in 0..WARM_UP + RUN_ROUNDS {
            for way in 0..ways.len() {
                let way = (way + round) % ways.len();
                tokio::time::sleep(PAUSE).await;
                let flags = ["run", "-d", "--net=none", "--runtime", runtime];
                let words = [&flags[..], ways[way], &["/bin/sleep", "100000"]].concat();
                let begun = Instant::now();
                run(&mut self.daemon.isula(&words))?;
                times[way].push(ms(begun.elapsed()));
            }
            if round % 10 == 9 {
                self.daemon.remove_all().await?;
            }
        }
        self.daemon.remove_all().await?;
        let measured = times.map(|times| times[WARM_UP..].to_vec());
        let over =
            |way: usize| measured[way].iter().zip(&measured[0]).map(|(image, directory)| image - directory).collect();
        let (one, ten): (Sample, Sample) = (over(1), over(2));
        section(
            &format!("9. start of an image, {runtime}"),
            "`isula run -d` of the same files as a directory and as images of one and of ten layers, 100 ms apart and in\n  \
             an order that rotates; the difference is taken within a round",
        );
        row("isula run -d --external-rootfs", "ms", &measured[0].iter().copied().collect(), None);
        row("isula run -d, one layer", "ms", &measured[1].iter().copied().collect(), None);
        row("isula run -d, ten layers", "ms", &measured[2].iter().copied().collect(), None);
        row("one layer less the directory", "ms", &one, Some(RUN_MS));
        row("ten layers less the directory", "ms", &ten, Some(RUN_MS));
        let listed = self.daemon.list().await?.len();
        ensure!(listed == 0, "{listed} containers are left");
        Ok(())
    }
}
