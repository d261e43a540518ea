//! The shared state of the daemon's parts.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use engine_host::fs::locate;
use store::Journal;

use crate::cause::chain;
use crate::config::Config;
use crate::containers::{Containers, Entity, Labels};
use crate::definition::{self, Definition, DefinitionError};
use crate::domain::container::{Container, Phase};
use crate::domain::id::{BootId, ContainerId, Digest, StartId};
use crate::effects::{self, Effects};
use crate::exec::Execs;
use crate::files::Files;
use crate::health::HealthResults;
use crate::image::records::Images;
use crate::image::registry::{self, Registry};
use crate::image::store::ImageStore;
use crate::image::{Configs, ImageLeases, LayerUses, Pulls};
use crate::journal::record::OperationId;
use crate::layout::{Bundle, Layout};
use crate::ledger::Restorable;
use crate::moves::Moves;
use crate::network::Networks;
use crate::oom;
use crate::rootfs::write_atomically;
use crate::runtime::{Instance, Runtime, RuntimeError};
use crate::session::Size;
use crate::spec::cgroup::Placement;
use crate::spec::{GroupPath, Host, NoteError};
use crate::supervisor::Supervisor;
use crate::usage::Usage;
use crate::volume::Volumes;
use crate::warnings::Warnings;

/// How complete the store's records are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Complete: an unknown object has no owner.
    Whole,
    /// Incomplete: records are missing or unreadable, so an unknown object may belong to a container.
    Partial,
    /// Written in a newer format: no changes are allowed.
    ReadOnly,
}

/// A client that is to be attached from a container's first byte.
#[derive(Debug)]
pub(crate) struct FirstClient {
    /// The shim's end.
    pub socket: OwnedFd,
    /// The size of its terminal; the container's has it from the beginning.
    pub size: Option<Size>,
}

/// The engine: one for the process's life.
#[derive(Debug)]
pub(crate) struct Engine {
    pub config: Config,
    pub layout: Layout,
    pub host: Host,
    pub boot: BootId,
    pub journal: Journal,
    pub containers: Containers,
    definitions: definition::Recent,
    pub images: Images,
    pub image_store: Arc<ImageStore>,
    pub image_configs: Configs,
    pub image_leases: Arc<ImageLeases>,
    pub layer_uses: LayerUses,
    /// Serializes changes of images' names and removals, since each decides on the outcome of the others.
    pub image_changes: tokio::sync::Mutex<()>,
    pub pulls: Pulls,
    pub registry: Registry,
    pub volumes: Volumes,
    pub networks: Networks,
    pub effects: Arc<Effects>,
    pub moves: Moves,
    pub supervisor: Supervisor,
    pub execs: Arc<Execs>,
    pub health: HealthResults,
    /// Of files that tell of kills for want of memory.
    pub oom: oom::Changes,
    pub usage: Usage,
    pub files: Files,
    /// Clients that wait for a requested start, to be attached from its first byte.
    first_clients: Mutex<HashMap<(ContainerId, OperationId), FirstClient>>,
    warnings: Arc<Warnings>,
    /// The completeness of the store, which decides what recovery may do.
    pub trust: OnceLock<Trust>,
    /// Effects and other tasks run here, including those enqueued by the journal's own thread.
    pub tasks: tokio::runtime::Handle,
}

impl Engine {
    pub(crate) fn new(config: Config, host: Host, boot: BootId, journal: Journal) -> Arc<Self> {
        let layout = Layout { graph: config.graph.clone(), state: config.state.clone() };
        let networks = Networks::new(config.network.clone(), &layout.network());
        let registry = Registry::new(registry_settings(&config, &layout));
        let warnings = Arc::<Warnings>::default();
        let engine = Arc::new(Self {
            config,
            moves: Moves::new(host.cgroups.clone()),
            host,
            boot,
            containers: Containers::new(journal.clone(), warnings.clone()),
            definitions: definition::Recent::default(),
            images: Images::new(journal.clone(), warnings.clone()),
            image_store: ImageStore::new(layout.images()),
            image_configs: Configs::default(),
            image_leases: Arc::default(),
            layer_uses: LayerUses::default(),
            image_changes: tokio::sync::Mutex::default(),
            pulls: Pulls::default(),
            registry,
            layout,
            volumes: Volumes::new(journal.clone(), warnings.clone()),
            journal,
            networks,
            effects: Effects::new(tokio::runtime::Handle::current()),
            supervisor: Supervisor::default(),
            execs: Arc::default(),
            health: HealthResults::default(),
            oom: oom::Changes::default(),
            usage: Usage::default(),
            files: Files::default(),
            first_clients: Mutex::default(),
            warnings,
            trust: OnceLock::new(),
            tasks: tokio::runtime::Handle::current(),
        });
        let planner = Arc::downgrade(&engine);
        engine.containers.subscribe(Box::new(move |turn| {
            let Some(engine) = planner.upgrade() else { return };
            for effect in effects::plan(turn.events, turn.after) {
                engine.enqueue(*turn.id, effect, turn.context);
            }
        }));
        engine
    }

    /// All ledgers.
    pub(crate) fn ledgers(&self) -> [&dyn Restorable; 3] {
        [&self.containers, &self.images, &self.volumes.records]
    }

    /// The runtime of this name. Its binary is looked up now, so that one installed later is found later.
    pub(crate) fn runtime(&self, name: &str) -> Result<Runtime, RuntimeError> {
        match self.config.runtimes.get(name) {
            Some(entry) => Runtime::find(name, &entry.path, &entry.args),
            None => Err(RuntimeError::Missing { name: name.to_owned(), path: PathBuf::from(name) }),
        }
    }

    /// The shim's binary; `None` when it is missing.
    pub(crate) fn shim(&self) -> Option<PathBuf> {
        locate(&self.config.shim)
    }

    pub(crate) fn bundle(&self, container: &Container) -> Bundle {
        self.layout.bundle(&container.card.runtime, &container.id)
    }

    pub(crate) fn state_dir(&self, container: &Container) -> isulad_shim::StateDir {
        self.layout.state_dir(&container.card.runtime, &container.id)
    }

    /// The present or pending start, as the runtime knows it.
    pub(crate) fn instance(&self, container: &Container) -> Option<Instance> {
        let start = if let Phase::Starting(starting) = &container.phase {
            starting.start
        } else {
            container.phase.run()?.start
        };
        Some(self.instance_of(container, start))
    }

    pub(crate) fn instance_of(&self, container: &Container, start: StartId) -> Instance {
        Instance::new(self.layout.runtime_root(&container.card.runtime), &container.id, start)
    }

    /// Whether the container's cgroup is frozen; `None` where the kernel has no file for it.
    pub(crate) fn frozen(&self, container: &Container) -> Option<bool> {
        self.host.cgroups.frozen(&self.group(container)?)
    }

    /// The cgroup of the last start: from its note, or, for an invalid note, where a start would put it now.
    /// Blocks on the disk.
    pub(crate) fn group(&self, container: &Container) -> Option<GroupPath> {
        let note = self.bundle(container).cgroup_note();
        let foreign = match GroupPath::read(&note, &container.id.to_string()) {
            Ok(Some(group)) => return Some(group),
            Ok(None) if container.phase.never_started() => return None,
            Ok(None) => None,
            // The note may be whole, and names the cgroup once it can be read again.
            Err(error @ NoteError::Read { .. }) => {
                self.warn(format!("container {}: {}", container.id.short(), chain(&error)));
                return None;
            }
            Err(error @ NoteError::Foreign { .. }) => Some(error),
        };
        let entity = self.containers.get(&container.id)?;
        let placed = self.definition(&entity).ok().and_then(|definition| {
            Placement::of(&definition, &self.config.cgroup_parent, self.config.systemd_cgroup).ok()
        });
        if let Some(error) = foreign {
            let now = match &placed {
                Some(placed) => {
                    // Warned once; a note that cannot be written is warned of again the next time.
                    let _ = write_atomically(&note, placed.path.as_str().as_bytes(), 0o600, false);
                    format!("it is written anew, as `{}`", placed.path)
                }
                None => "end by hand what is left of its processes, if any".to_owned(),
            };
            self.warn(format!("container {}: {}; {now}", container.id.short(), chain(&error)));
        }
        placed.map(|placed| placed.path)
    }

    /// The cgroup of the last start, where it still exists and the engine has to remove it.
    pub(crate) fn left_group(&self, container: &Container) -> Option<GroupPath> {
        let group = self.group(container)?;
        (!self.config.systemd_cgroup && self.host.cgroups.exists(&group)).then_some(group)
    }

    /// The definition, from the cache or from its file, which must have the recorded digest. Blocks on the
    /// disk, unless it is cached.
    pub(crate) fn definition(&self, entity: &Entity) -> Result<Arc<Definition>, DefinitionError> {
        if let Some(definition) = self.cached_definition(entity) {
            return Ok(definition);
        }
        let (definition, digest, bytes) = self.read_definition(entity)?;
        self.definitions.put(digest, definition.clone(), bytes);
        Ok(definition)
    }

    /// The same for a caller that goes through many containers: the cache stays as it is.
    pub(crate) fn definition_uncached(&self, entity: &Entity) -> Result<Arc<Definition>, DefinitionError> {
        match self.cached_definition(entity) {
            Some(definition) => Ok(definition),
            None => self.read_definition(entity).map(|(definition, ..)| definition),
        }
    }

    /// Caches a definition that was just written and is needed at once. `bytes`: the length of its file.
    pub(crate) fn cache_definition(&self, digest: Digest, definition: Arc<Definition>, bytes: usize) {
        self.definitions.put(digest, definition, bytes);
    }

    /// The definition if it is cached. Does not block.
    pub(crate) fn cached_definition(&self, entity: &Entity) -> Option<Arc<Definition>> {
        self.definitions.get(&entity.state.card.definition)
    }

    /// The container's labels. Blocks on the disk unless they are cached, as few ones are after the first read.
    pub(crate) fn labels(&self, entity: &Entity) -> Result<Labels, DefinitionError> {
        match entity.labels() {
            Some(labels) => Ok(labels),
            None => self.definition_uncached(entity).map(|definition| entity.remember_labels(&definition.labels)),
        }
    }

    fn read_definition(&self, entity: &Entity) -> Result<(Arc<Definition>, Digest, usize), DefinitionError> {
        let container = &entity.state;
        let digest = container.card.definition;
        match self.read_placed(container, &digest) {
            Ok((read, bytes)) => {
                entity.remember_labels(&read.labels);
                Ok((Arc::new(read), digest, bytes))
            }
            // An update may have replaced it since the caller read the entry.
            Err(DefinitionError::Altered { path }) => match self.containers.get(&container.id) {
                Some(now) if now.state.card.definition != digest => self.read_definition(&now),
                Some(_) | None => Err(DefinitionError::Altered { path }),
            },
            Err(error) => Err(error),
        }
    }

    /// The definition with this digest: the container's present one, or a pending update's. Blocks.
    pub(crate) fn definition_of(&self, container: &Container, digest: &Digest) -> Result<Definition, DefinitionError> {
        self.read_placed(container, digest).map(|(definition, _)| definition)
    }

    /// With the length of its file.
    fn read_placed(&self, container: &Container, digest: &Digest) -> Result<(Definition, usize), DefinitionError> {
        let (mut definition, bytes) = definition::read(&self.bundle(container).definition(), digest)?;
        definition.place_volumes(&self.layout);
        Ok((definition, bytes))
    }

    /// Moves the definition with the recorded digest to its place, and removes leftovers of rejected or interrupted
    /// updates beside it. The caller holds the container's place for updates, or is recovery, which runs before any
    /// update. Blocks.
    pub(crate) fn settle_definition(&self, id: &ContainerId) {
        let Some(before) = self.containers.get(id) else { return };
        let _files = before.hold_files();
        // Read again, since the lock may have been waited for during a change.
        let Some(entity) = self.containers.get(id) else { return };
        let container = &entity.state;
        let wanted = container.update.map(|update| update.definition);
        let settled =
            definition::settle(&self.bundle(container).definition(), &container.card.definition, wanted.as_ref());
        if let Err(error) = settled {
            self.warn(format!("container {}: {}", id.short(), chain(&error)));
        }
    }

    /// The `cgroup.procs` files by which a shim leaves the daemon's cgroup. Empty on a machine without such cgroups.
    pub(crate) fn shim_cgroups(&self) -> Vec<PathBuf> {
        self.host.cgroups.make_shims(&self.config.cgroup_parent).unwrap_or_else(|error| {
            self.warn(format!("cannot make the shims' cgroup: {error}"));
            vec![]
        })
    }

    /// Leaves a client for the launch that this operation asks for.
    pub(crate) fn put_first_client(&self, id: ContainerId, operation: OperationId, client: FirstClient) {
        lock(&self.first_clients).insert((id, operation), client);
    }

    /// This operation's client, if it left one. A launch never takes another operation's.
    pub(crate) fn take_first_client(&self, id: &ContainerId, operation: OperationId) -> Option<FirstClient> {
        lock(&self.first_clients).remove(&(*id, operation))
    }

    pub(crate) fn trust(&self) -> Trust {
        // Nothing is known before the store was read.
        self.trust.get().copied().unwrap_or(Trust::Partial)
    }

    /// Logs the warning and keeps it for `isula info`.
    pub(crate) fn warn(&self, message: String) {
        self.warnings.add(message);
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        self.warnings.list()
    }
}

fn registry_settings(config: &Config, layout: &Layout) -> registry::Settings {
    let images = &config.images;
    let auth_file = images.auth_file.clone().unwrap_or_else(|| layout.auth_file());
    let mut settings = registry::Settings::new(images.certs_dir.clone(), auth_file);
    settings.mirrors.clone_from(&images.mirrors);
    settings.insecure.clone_from(&images.insecure);
    settings
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
