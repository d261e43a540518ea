//! The roots without symbolic links. An operator may have put a link in the place of a root, or of a directory above:
//! the kernel lists mounts without it, runtimes refuse a root filesystem below one, and two spellings of one root would
//! count as two.

use std::os::unix::fs::DirBuilderExt;

use engine_host::fs::without_links;

use super::{Config, ConfigError};

impl Config {
    /// Makes the two roots, and resolves links in their paths and in that of the network namespaces. Directories that
    /// are only read, such as that of the CNI configurations, keep their path: there a link may be changed while the
    /// daemon runs.
    pub fn settle_roots(&mut self) -> Result<(), ConfigError> {
        for root in [&mut self.graph, &mut self.state] {
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o711).create(&*root);
            let real = made.and_then(|()| root.canonicalize());
            *root = real.map_err(|source| ConfigError::Root { path: root.clone(), source })?;
        }
        let netns = &mut self.network.netns_dir;
        *netns = without_links(netns).map_err(|source| ConfigError::Root { path: netns.clone(), source })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_in_roots_are_resolved() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().canonicalize().unwrap().join(name);
        for name in ["data/graph", "run"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        symlink("data/graph", at("graph")).unwrap();
        symlink(at("run"), at("var-run")).unwrap();
        let mut config = Config { graph: at("graph"), state: at("var-run/isulad/deep"), ..Config::built_in() };
        config.network.netns_dir = at("var-run/netns/ours");
        for _ in 0..2 {
            config.settle_roots().unwrap();
            assert_eq!((&config.graph, &config.state), (&at("data/graph"), &at("run/isulad/deep")));
            assert_eq!(config.network.netns_dir, at("run/netns/ours"), "made when it is needed");
            assert!(!at("run/netns").exists());
        }
        symlink("nowhere", at("dangling")).unwrap();
        config.graph = at("dangling");
        let error = crate::cause::chain(&config.settle_roots().unwrap_err());
        assert!(error.starts_with(&format!("cannot use the directory `{}`", at("dangling").display())), "{error}");
    }
}
