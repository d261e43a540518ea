//! The user and groups of a process: names looked up in the passwd and group files as the container sees them, with its
//! mounts.
//!
//! The root is foreign, so nothing in it is trusted: files are opened with the root as `/` for every link on the way,
//! only regular ones are read, and only up to a size. Lines that do not have the format are skipped.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::FileType;

use crate::definition::Process;
use crate::rootfs::{BeneathError, PlannedRoot};

use super::SpecError;

/// Far beyond any real file, and small enough to be read at once.
const MOST_BYTES: u64 = 8 << 20;

/// The kernel's `-1` means "no change"; other engines stop at half the range too.
const LARGEST_ID: u32 = i32::MAX as u32;

/// Why a user or group cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    #[error("no user `{name}` in the container's passwd file")]
    NoSuchUser { name: String },
    #[error("no group `{name}` in the container's group file")]
    NoSuchGroup { name: String },
    #[error("id {id} is out of range")]
    OutOfRange { id: String },
    #[error("cannot read `/{file}` of the container")]
    Read { file: &'static str, source: io::Error },
    #[error("`/{file}` of the container is not a regular file")]
    NotRegular { file: &'static str },
    #[error("`/{file}` of the container is larger than {MOST_BYTES} bytes")]
    TooLarge { file: &'static str },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// All of them, `gid` first: a process that is a member of its own group only through its gid could give the
    /// membership up, and escape the file permissions that deny access to the group.
    pub groups: Vec<u32>,
    pub home: String,
}

/// Looks up `user` and `group_add` of the process.
pub(super) fn lookup(root: &PlannedRoot, process: &Process) -> Result<Identity, SpecError> {
    let named = |source| SpecError::User { user: process.user.clone(), source };
    let passwd = read(root, "etc/passwd").map_err(named)?;
    // Most containers run as root and ask for no group: even then the file is needed for root's own groups.
    let group = read(root, "etc/group").map_err(named)?;
    let mut identity = resolve(&process.user, &passwd, &group).map_err(named)?;
    for name in &process.group_add {
        let gid = find_group(name, &group).map_err(|source| SpecError::User { user: name.clone(), source })?;
        if !identity.groups.contains(&gid) {
            identity.groups.push(gid);
        }
    }
    Ok(identity)
}

fn resolve(user: &str, passwd: &str, group: &str) -> Result<Identity, UserError> {
    let (user, explicit_group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    // A number is an id, even if there is a user of that name.
    let (uid, entry) = match number(user)? {
        Some(uid) => (uid, users(passwd).find(|entry| entry.uid == uid)),
        None => match users(passwd).find(|entry| entry.name == user) {
            Some(entry) => (entry.uid, Some(entry)),
            None => return Err(UserError::NoSuchUser { name: user.to_owned() }),
        },
    };
    let home = entry.as_ref().map(|entry| entry.home).filter(|home| !home.is_empty()).unwrap_or("/").to_owned();
    let own_gid = entry.as_ref().map_or(0, |entry| entry.gid);
    let Some(explicit) = explicit_group else {
        let name = entry.as_ref().map(|entry| entry.name);
        let member = |entry: &Group<'_>| name.is_some_and(|name| entry.members.split(',').any(|member| member == name));
        let mut groups: Vec<u32> = vec![own_gid];
        for entry in groups_of(group).filter(|entry| member(entry)) {
            if !groups.contains(&entry.gid) {
                groups.push(entry.gid);
            }
        }
        return Ok(Identity { uid, gid: own_gid, groups, home });
    };
    let gid = find_group(explicit, group)?;
    Ok(Identity { uid, gid, groups: vec![gid], home })
}

fn find_group(name: &str, group: &str) -> Result<u32, UserError> {
    match number(name)? {
        Some(gid) => Ok(gid),
        None => groups_of(group)
            .find(|entry| entry.name == name)
            .map(|entry| entry.gid)
            .ok_or_else(|| UserError::NoSuchGroup { name: name.to_owned() }),
    }
}

/// The id in a text of digits; `None` for any other text.
fn number(text: &str) -> Result<Option<u32>, UserError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    let id = text.parse().ok().filter(|id| *id <= LARGEST_ID);
    id.map(Some).ok_or_else(|| UserError::OutOfRange { id: text.to_owned() })
}

struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// `name:password:uid:gid:comment:home:shell`
fn users(passwd: &str) -> impl Iterator<Item = User<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with(['#', '+', '-']))?;
        let uid = id(fields.nth(1)?)?;
        let gid = id(fields.next()?)?;
        Some(User { name, uid, gid, home: fields.nth(1).unwrap_or_default() })
    })
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// `name:password:gid:member,member`
fn groups_of(group: &str) -> impl Iterator<Item = Group<'_>> {
    group.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with(['#', '+', '-']))?;
        let gid = id(fields.nth(1)?)?;
        Some(Group { name, gid, members: fields.next().unwrap_or_default() })
    })
}

fn id(field: &str) -> Option<u32> {
    number(field).ok().flatten()
}

/// The text of a file below the root; empty when there is none. Bytes that are no UTF-8 cannot be in a valid name.
fn read(root: &PlannedRoot, file: &'static str) -> Result<String, UserError> {
    let failed = |source| UserError::Read { file, source };
    let found = match root.locate(Path::new(file)) {
        Ok(located) => located.found,
        Err(BeneathError::NotADirectory { .. }) => None,
        Err(error) => return Err(failed(io::Error::other(error))),
    };
    let Some(found) = found else { return Ok(String::new()) };
    if found.kind != FileType::RegularFile {
        return Err(UserError::NotRegular { file });
    }
    let opened = File::from(found.reopen().map_err(failed)?);
    let facts = opened.metadata().map_err(failed)?;
    let mut bytes = Vec::with_capacity(facts.len().min(MOST_BYTES) as usize + 1);
    opened.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(UserError::TooLarge { file });
    }
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

#[cfg(test)]
#[path = "user_tests.rs"]
mod tests;
