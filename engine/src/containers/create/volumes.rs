//! The mounts of a new container: the request's, those of other containers, and its image's volumes, in this order of
//! precedence.

use std::collections::HashSet;
use std::sync::Arc;

use super::MountSpec;
use super::image::plain;
use crate::containers::tasks::blocking;
use crate::containers::{ContainerError, Target};
use crate::definition::{Definition, Mount, MountKind};
use crate::domain::id::VolumeName;
use crate::engine::Engine;
use crate::latest::latest;
use crate::layout::Layout;
use crate::volume;

type Checked<T> = Result<T, ContainerError>;

/// All mounts, each at a different path. Nothing is made: volumes without a name get one.
pub(super) fn mounts(
    layout: &Layout,
    asked: &[MountSpec],
    inherited: Vec<Mount>,
    of_image: &[String],
) -> Checked<Vec<Mount>> {
    let mut mounts: Vec<Mount> = Vec::with_capacity(asked.len() + inherited.len() + of_image.len());
    let mut taken = HashSet::with_capacity(mounts.capacity());
    for wanted in asked {
        let mount = mount(layout, wanted)?;
        if !taken.insert(plain(&mount.target)) {
            return Err(ContainerError::invalid(format!("Duplicate mount point: {}", mount.target)));
        }
        mounts.push(mount);
    }
    let inherited = inherited.into_iter().map(|mount| (plain(&mount.target), mount));
    let inherited: Vec<_> = inherited.filter(|(target, _)| !taken.contains(target)).collect();
    // Of several containers' mounts at one path, the last container's is used.
    for (target, mount) in latest(inherited, |(target, _)| target.as_str()) {
        taken.insert(target);
        mounts.push(mount);
    }
    for target in of_image {
        if taken.insert(plain(target)) {
            mounts.push(volume(layout, "", target, true)?);
        }
    }
    Ok(mounts)
}

fn mount(layout: &Layout, mount: &MountSpec) -> Checked<Mount> {
    let climbs =
        |path: &str| std::path::Path::new(path).components().any(|part| part == std::path::Component::ParentDir);
    if !mount.target.starts_with('/') || climbs(&mount.target) || plain(&mount.target) == "/" {
        return Err(ContainerError::invalid(format!(
            "mount target `{}` is not an absolute path below `/`",
            mount.target
        )));
    }
    if !matches!(mount.propagation.as_str(), "" | "private" | "rprivate" | "slave" | "rslave" | "shared" | "rshared") {
        return Err(ContainerError::invalid(format!("mount propagation `{}` is unknown", mount.propagation)));
    }
    if mount.kind == MountKind::Volume {
        if !mount.propagation.is_empty() {
            return Err(ContainerError::invalid(format!("the volume at `{}` cannot have a propagation", mount.target)));
        }
        let volume = volume(layout, &mount.source, &mount.target, !mount.no_copy)?;
        return Ok(Mount { read_only: mount.read_only, options: mount.options.clone(), ..volume });
    }
    if mount.kind == MountKind::Bind && !mount.source.starts_with('/') {
        return Err(ContainerError::invalid(format!("mount source `{}` is not an absolute path", mount.source)));
    }
    Ok(Mount {
        kind: mount.kind,
        source: mount.source.clone(),
        target: mount.target.clone(),
        read_only: mount.read_only,
        propagation: mount.propagation.clone(),
        options: mount.options.clone(),
        create_source: mount.create_source,
        non_recursive: mount.non_recursive,
        name: String::new(),
        anonymous: false,
        copy: false,
    })
}

/// A volume, anonymous without a name.
fn volume(layout: &Layout, name: &str, target: &str, copy: bool) -> Checked<Mount> {
    let anonymous = name.is_empty();
    let name: VolumeName = if anonymous {
        volume::anonymous_name()?
    } else {
        name.parse().map_err(|_| volume::VolumeError::InvalidName { name: name.to_owned() })?
    };
    let source = layout.volume_data(&name);
    let source = source.to_str().ok_or_else(|| ContainerError::VolumesPath { path: layout.volumes() })?;
    Ok(Mount {
        kind: MountKind::Volume,
        source: source.to_owned(),
        target: target.to_owned(),
        read_only: false,
        propagation: String::new(),
        options: Vec::new(),
        create_source: false,
        non_recursive: true,
        name: name.to_string(),
        anonymous,
        copy,
    })
}

/// The volumes of a definition, each once, and which of them are anonymous.
pub(super) fn volumes_of(definition: &Definition) -> Vec<(VolumeName, bool)> {
    let volumes = definition.mounts.iter().filter(|mount| mount.kind == MountKind::Volume);
    let mut seen = HashSet::new();
    let once = volumes.filter(|mount| seen.insert(mount.name.as_str()));
    once.filter_map(|mount| Some((mount.name.parse().ok()?, mount.anonymous))).collect()
}

/// The bind mounts and volumes of other containers: `container[:ro|:rw]` each.
pub(super) async fn inherited(engine: &Arc<Engine>, from: Vec<String>) -> Checked<Vec<Mount>> {
    let mut sources = Vec::with_capacity(from.len());
    for text in from {
        let (reference, mode) = text.split_once(':').unwrap_or((&text, "rw"));
        let read_only = match mode {
            "ro" => true,
            "rw" => false,
            other => {
                return Err(ContainerError::invalid(format!("--volumes-from {text}: mode `{other}` is not ro or rw")));
            }
        };
        sources.push((Target::find(engine, reference)?.entity(engine)?, read_only));
    }
    if sources.is_empty() {
        return Ok(vec![]);
    }
    let engine = engine.clone();
    blocking(move || {
        let mut mounts = Vec::new();
        for (entity, read_only) in sources {
            let definition = engine.containers.definition(&entity)?;
            mounts.extend(inherit(&definition, read_only));
        }
        Ok(mounts)
    })
    .await
}

/// The inherited mounts of a definition, which are never filled again: that is left to the container for which they
/// were made.
fn inherit(definition: &Definition, read_only: bool) -> impl Iterator<Item = Mount> {
    let handed_on = definition.mounts.iter().filter(|mount| match mount.kind {
        MountKind::Bind | MountKind::Volume => true,
        MountKind::Tmpfs => false,
    });
    handed_on.map(move |mount| Mount { read_only: mount.read_only || read_only, copy: false, ..mount.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        Layout { graph: "/graph".into(), state: "/state".into() }
    }

    fn asked(kind: MountKind, source: &str, target: &str) -> MountSpec {
        MountSpec { kind, source: source.into(), target: target.into(), ..MountSpec::default() }
    }

    fn named(name: &str, target: &str) -> Mount {
        volume(&layout(), name, target, false).unwrap()
    }

    fn shown(mounts: &[Mount]) -> Vec<String> {
        let name = |mount: &Mount| if mount.anonymous { "?".to_owned() } else { mount.name.clone() };
        mounts
            .iter()
            .map(|mount| format!("{}{}:{}", name(mount), if mount.copy { "*" } else { "" }, mount.target))
            .collect()
    }

    #[test]
    fn own_mounts_override_inherited_ones_and_those_the_images() {
        let own = [asked(MountKind::Volume, "own", "/a/"), asked(MountKind::Volume, "", "/b")];
        let inherited = vec![named("x", "/a"), named("x", "/c"), named("y", "/c"), named("y", "/d")];
        let of_image = ["/a", "/b", "/c", "/e"].map(str::to_owned);
        let mounts = mounts(&layout(), &own, inherited, &of_image).unwrap();
        assert_eq!(shown(&mounts), ["own*:/a/", "?*:/b", "y:/c", "y:/d", "?*:/e"]);
        assert_eq!(mounts[0].source, "/graph/volumes/own/_data");
        let random = &mounts[1].name;
        assert!(random.len() == 64 && random.bytes().all(|b| b.is_ascii_hexdigit()) && *random != mounts[4].name);
    }

    #[test]
    fn many_mounts_are_put_together_in_linear_time() {
        let growth = crate::latest::cost::growth(16_000, |count| {
            let own: Vec<_> = (0..count).map(|n| asked(MountKind::Bind, "/x", &format!("/own/{n}"))).collect();
            let inherited = (0..count).map(|n| named("v", &format!("/inherited/{}", n / 2))).collect();
            let of_image: Vec<_> = (0..count).map(|n| format!("/image/{n}")).collect();
            let mounts = mounts(&layout(), &own, inherited, &of_image).unwrap();
            assert_eq!(mounts.len(), count * 5 / 2);
            let mut definition = crate::spec::tests::definition();
            definition.mounts = mounts;
            assert_eq!(volumes_of(&definition).len(), count + 1);
        });
        assert!(growth < 10.0, "{growth}");
    }

    #[test]
    fn invalid_mounts_are_refused_by_name() {
        use MountKind::{Bind, Tmpfs, Volume};
        for (list, expected) in [
            (vec![asked(Bind, "/x", "/a"), asked(Tmpfs, "", "//a/")], "Duplicate mount point: //a/"),
            (vec![asked(Volume, "a/b", "/a")], "`a/b` is not a volume name"),
            (vec![asked(Volume, "v", "a")], "mount target `a`"),
            (vec![asked(Volume, "v", "/x/../..")], "mount target `/x/../..`"),
            (vec![asked(Volume, "v", "/./")], "mount target `/./`"),
            (vec![asked(Bind, "x", "/a")], "mount source `x` is not an absolute path"),
            (
                vec![MountSpec { propagation: "shared".into(), ..asked(Volume, "v", "/a") }],
                "the volume at `/a` cannot have a propagation",
            ),
        ] {
            let error = mounts(&layout(), &list, vec![], &[]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn inherited_volumes_are_not_filled_and_may_be_read_only() {
        let mut definition = crate::spec::tests::definition();
        let filled = |name| volume(&layout(), name, "/v", true).unwrap();
        definition.mounts = vec![
            filled("a"),
            filled(""),
            Mount { read_only: true, ..filled("c") },
            crate::spec::tests::tmpfs("/t", &[]),
        ];
        for read_only in [false, true] {
            let mounts: Vec<_> = inherit(&definition, read_only).collect();
            assert_eq!(shown(&mounts), ["a:/v", "?:/v", "c:/v"]);
            assert_eq!(mounts.iter().map(|mount| mount.read_only).collect::<Vec<_>>(), [read_only, read_only, true]);
        }
    }
}
