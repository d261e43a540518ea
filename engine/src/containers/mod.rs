//! The verbs on containers: start, stop, remove and all others.
//!
//! A verb takes the container as its caller named it ([`Target`]) and values of the domain, and answers when the outcome
//! of its command is recorded ([`AskedCommand`]), or with a [`ContainerError`]. Every API has the same verbs: its doors
//! parse a request, call one, and convert the answer.

mod ask;
mod attach_guard;
mod connect;
mod create;
mod error;
mod exec;
mod limits;
mod networks_released;
mod remove;
mod rename;
mod resize;
mod restart;
mod sizes;
mod start;
mod stop;
mod suspend;
mod target;
mod tasks;
mod update;
mod wait;

pub(crate) use ask::AskedCommand;
pub(crate) use attach_guard::AttachGuard;
pub(crate) use connect::connect;
pub(crate) use create::{
    AttachedRun, ContainerSpec, HealthcheckSpec, LogSpec, MountSpec, PortSpec, create, run, run_attached,
};
pub(crate) use error::{ContainerError, Verb};
pub(crate) use exec::{exec, exec_sync};
pub(crate) use limits::Limits;
pub(crate) use networks_released::networks_released;
pub(crate) use remove::remove;
pub(crate) use rename::rename;
pub(crate) use resize::resize;
pub(crate) use restart::{restart, suits_removal};
pub(crate) use start::{StartFailure, StartOutcome, start, start_outcome, started_by};
pub(crate) use stop::{kill, stop};
pub(crate) use suspend::{pause, resume};
pub(crate) use target::Target;
pub(crate) use update::{Update, update};
pub(crate) use wait::{ending, wait};
