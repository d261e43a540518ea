//! Properties of every stored shape: encoding and decoding round-trip, and no bytes make the decoder panic.

use migrations::codec::{self, SIZE_LIMIT};
use migrations::kinds::{ContainerEvent, ImageEvent, VolumeEvent, check_event, check_row, kinds};
use migrations::v1::*;
use proptest::option;
use proptest::prelude::*;

fn text() -> impl Strategy<Value = String> {
    ".{0,60}"
}

prop_compose! {
    fn card()(
        (name, image, runtime, command) in (text(), text(), text(), text()),
        definition in any::<[u8; 32]>(), image_id in any::<Option<[u8; 32]>>(), created_at in any::<u64>(),
        (auto_remove, tty, open_stdin) in any::<(bool, bool, bool)>(),
        stop_signal in any::<i32>(), stop_timeout in any::<u32>(), restart in restart(), health in health_action(),
    ) -> CardV1 {
        CardV1 {
            name, image, image_id, runtime, command, definition, created_at, auto_remove, tty, open_stdin, stop_signal,
            stop_timeout, restart, health,
        }
    }
}

prop_compose! {
    fn process()(pid in any::<u32>(), start_time in any::<u64>()) -> ProcessV1 {
        ProcessV1 { pid, start_time }
    }
}

prop_compose! {
    fn run()(
        start in any::<u64>(), boot in any::<[u8; 16]>(), process in process(), shim in option::of(process()),
        since in any::<u64>(), oom in any::<bool>(),
        stop in option::of(any::<(i32, u64, bool, bool)>()), health in option::of(health()),
    ) -> RunV1 {
        let stop = stop.map(|(signal, deadline, killed, then_start)| StopV1 { signal, deadline, killed, then_start });
        RunV1 { start, boot, process, shim, since, stop, oom, health }
    }
}

fn status() -> impl Strategy<Value = ExitStatusV1> {
    prop_oneof![
        any::<u8>().prop_map(ExitStatusV1::Code),
        any::<i32>().prop_map(ExitStatusV1::Signal),
        Just(ExitStatusV1::Unknown(CauseV1::HostReboot)),
        Just(ExitStatusV1::Unknown(CauseV1::ShimAndProcessLost)),
        Just(ExitStatusV1::Unknown(CauseV1::ShimLost)),
    ]
}

prop_compose! {
    fn end()(
        start in any::<u64>(), status in status(), started_at in any::<Option<u64>>(), at in any::<u64>(),
        oom in any::<bool>(), error in option::of(text()),
    ) -> EndV1 {
        EndV1 { start, status, started_at, at, oom, error }
    }
}

fn phase() -> impl Strategy<Value = PhaseV1> {
    prop_oneof![
        Just(PhaseV1::Created),
        any::<(u64, [u8; 16], u64)>().prop_map(|(start, boot, since)| PhaseV1::Starting(StartingV1 {
            start,
            boot,
            since
        })),
        run().prop_map(PhaseV1::Running),
        run().prop_map(PhaseV1::Pausing),
        run().prop_map(PhaseV1::Paused),
        run().prop_map(PhaseV1::Resuming),
        end().prop_map(PhaseV1::Exited),
        (end(), any::<(u64, u32)>()).prop_map(|(end, (due, attempt))| PhaseV1::Restarting(RestartingV1 {
            end,
            due,
            attempt
        })),
        (option::of(run()), option::of(text()), any::<bool>())
            .prop_map(|(run, failed, volumes)| PhaseV1::Removing(RemovingV1 { run, failed, volumes })),
    ]
}

fn restart() -> impl Strategy<Value = RestartPolicyV1> {
    prop_oneof![
        Just(RestartPolicyV1::No),
        Just(RestartPolicyV1::Always),
        Just(RestartPolicyV1::UnlessStopped),
        any::<u32>().prop_map(|retries| RestartPolicyV1::OnFailure { retries }),
        Just(RestartPolicyV1::OnReboot),
    ]
}

fn health_action() -> impl Strategy<Value = HealthActionV1> {
    prop_oneof![Just(HealthActionV1::Unwatched), Just(HealthActionV1::Watch), Just(HealthActionV1::Kill)]
}

fn health() -> impl Strategy<Value = HealthV1> {
    prop_oneof![Just(HealthV1::Starting), Just(HealthV1::Healthy), Just(HealthV1::Unhealthy)]
}

prop_compose! {
    fn row()(
        card in card(), phase in phase(), last in last(), (count, streak, stopped) in any::<(u32, u32, bool)>(),
        update in option::of((any::<[u8; 32]>(), restart())),
        networks in prop::collection::vec((any::<u64>(), text(), prop::collection::vec(text(), 0..3)), 0..4),
    ) -> ContainerRowV1 {
        let restarts = RestartsV1 { count, streak, stopped };
        let update = update.map(|(definition, restart)| UpdateV1 { definition, restart });
        let networks = networks.into_iter();
        let networks =
            networks.map(|(start, network, addresses)| AttachmentV1 { start, network, addresses }).collect();
        ContainerRowV1 { card, phase, last, restarts, update, networks }
    }
}

fn last() -> impl Strategy<Value = LastV1> {
    prop_oneof![Just(LastV1::Never), Just(LastV1::AsPhase), end().prop_map(LastV1::Ended)]
}

fn actor() -> impl Strategy<Value = ActorV1> {
    prop_oneof![
        (any::<u32>(), any::<u32>(), text()).prop_map(|(uid, pid, exe)| ActorV1::Peer { uid, pid, exe }),
        Just(ActorV1::RestartPolicy),
        Just(ActorV1::Recovery),
        Just(ActorV1::Engine),
    ]
}

prop_compose! {
    fn context()(
        actor in actor(), operation in any::<[u8; 8]>(), name in text(), image in text(),
    ) -> ContextV1 {
        ContextV1 { actor, operation, name, image }
    }
}

fn event() -> impl Strategy<Value = ContainerEvent> {
    use ContainerEvent as E;
    prop_oneof![
        card().prop_map(|card| E::Created(CreatedV1 { card })),
        any::<(u64, [u8; 16], u64)>().prop_map(|(start, boot, at)| E::StartRequested(StartRequestedV1 {
            start,
            boot,
            at
        })),
        (any::<(u64, u64)>(), process(), option::of(process()))
            .prop_map(|((start, at), process, shim)| E::Started(StartedV1 { start, process, shim, at })),
        (any::<(u64, u8, u64)>(), text()).prop_map(|((start, code, at), message)| E::StartFailed(StartFailedV1 {
            start,
            code,
            message,
            at
        })),
        Just(E::PauseRequested(PauseRequestedV1 {})),
        Just(E::Paused(PausedV1 {})),
        text().prop_map(|message| E::PauseFailed(PauseFailedV1 { message })),
        Just(E::ResumeRequested(ResumeRequestedV1 {})),
        Just(E::Resumed(ResumedV1 {})),
        text().prop_map(|message| E::ResumeFailed(ResumeFailedV1 { message })),
        any::<(u64, i32, u64, bool)>().prop_map(|(start, signal, deadline, then_start)| {
            E::StopRequested(StopRequestedV1 { start, signal, deadline, then_start })
        }),
        any::<(u64, i32)>().prop_map(|(start, signal)| E::Killed(KilledV1 { start, signal })),
        (any::<u64>(), status(), any::<u64>()).prop_map(|(start, status, at)| E::Exited(ExitedV1 {
            start,
            status,
            at
        })),
        any::<u64>().prop_map(|start| E::OomKilled(OomKilledV1 { start })),
        (text(), text()).prop_map(|(from, to)| E::Renamed(RenamedV1 { from, to })),
        any::<u64>().prop_map(|start| E::ShimLost(ShimLostV1 { start })),
        (any::<u64>(), process()).prop_map(|(start, shim)| E::ShimAdopted(ShimAdoptedV1 { start, shim })),
        any::<(bool, bool)>().prop_map(|(force, volumes)| E::RemoveRequested(RemoveRequestedV1 { force, volumes })),
        text().prop_map(|message| E::RemoveFailed(RemoveFailedV1 { message })),
        Just(E::Removed(RemovedV1 {})),
        (any::<[u8; 32]>(), restart())
            .prop_map(|(definition, restart)| E::UpdateRequested(UpdateRequestedV1 { definition, restart })),
        Just(E::Updated(UpdatedV1 {})),
        text().prop_map(|message| E::UpdateFailed(UpdateFailedV1 { message })),
        any::<(u64, u32, u64)>().prop_map(|(start, attempt, due)| E::RestartScheduled(RestartScheduledV1 {
            start,
            attempt,
            due
        })),
        any::<u64>().prop_map(|start| E::RestartCancelled(RestartCancelledV1 { start })),
        (any::<u64>(), health()).prop_map(|(start, health)| E::HealthChanged(HealthChangedV1 { start, health })),
        (any::<(u64, [u8; 8], bool, bool)>(), text(), text()).prop_map(|((start, exec, tty, detached), argv, user)| {
            E::ExecStarted(ExecStartedV1 { start, exec, argv, user, tty, detached })
        }),
        (any::<([u8; 8], u64, u64)>(), status())
            .prop_map(|((exec, at, lasted_ms), status)| E::ExecExited(ExecExitedV1 { exec, status, at, lasted_ms })),
        any::<([u8; 8], bool, bool)>().prop_map(|(session, stdin, tty)| E::Attached(AttachedV1 {
            session,
            stdin,
            tty
        })),
        any::<([u8; 8], u64)>().prop_map(|(session, lasted_ms)| E::Detached(DetachedV1 { session, lasted_ms })),
        (any::<u64>(), text(), prop::collection::vec(text(), 0..3)).prop_map(|(start, network, addresses)| {
            E::NetworkAttached(NetworkAttachedV1 { start, network, addresses })
        }),
        any::<u64>().prop_map(|start| E::NetworkDetached(NetworkDetachedV1 { start })),
    ]
}

prop_compose! {
    fn facts()(
        manifest in any::<[u8; 32]>(), (size, layers, created) in any::<(u64, u16, Option<u64>)>(),
        (added_at, used_at, pinned) in any::<(u64, u64, bool)>(), (os, architecture) in (text(), text()),
    ) -> ImageFactsV1 {
        ImageFactsV1 { manifest, size, layers, created, added_at, used_at, pinned, os, architecture }
    }
}

fn image_event() -> impl Strategy<Value = ImageEvent> {
    use ImageEvent as E;
    let added =
        || {
            (facts(), prop::collection::vec(text(), 0..4), any::<u64>())
                .prop_map(|(facts, names, since)| ImageAddedV1 { facts, names, since })
        };
    prop_oneof![
        added().prop_map(E::Pulled),
        added().prop_map(E::Loaded),
        added().prop_map(E::Imported),
        (text(), any::<u64>()).prop_map(|(name, since)| E::Tagged(ImageTaggedV1 { name, since })),
        text().prop_map(|name| E::Untagged(ImageUntaggedV1 { name })),
        Just(E::Removed(ImageRemovedV1 {})),
    ]
}

fn labels() -> impl Strategy<Value = std::collections::BTreeMap<String, String>> {
    prop::collection::btree_map(text(), text(), 0..4)
}

fn volume_event() -> impl Strategy<Value = VolumeEvent> {
    use VolumeEvent as E;
    prop_oneof![
        (text(), labels(), any::<bool>(), any::<u64>()).prop_map(|(name, labels, anonymous, created_at)| E::Created(
            VolumeCreatedV1 { name, labels, anonymous, created_at }
        )),
        Just(E::RemoveRequested(VolumeRemoveRequestedV1 {})),
        Just(E::Removed(VolumeRemovedV1 {})),
    ]
}

proptest! {
    #[test]
    fn events_of_images_and_volumes_round_trip(context in context(), image in image_event(), volume in volume_event()) {
        let bytes = image.encode(&context);
        let decoded = ImageEvent::decode(image.kind().number, &bytes).unwrap().unwrap();
        prop_assert_eq!(decoded, (context.clone(), image));
        let bytes = volume.encode(&context);
        let decoded = VolumeEvent::decode(volume.kind().number, &bytes).unwrap().unwrap();
        prop_assert_eq!(decoded, (context, volume));
    }

    #[test]
    fn rows_of_images_and_volumes_round_trip(
        facts in facts(), names in prop::collection::vec((text(), any::<u64>()), 0..4),
        labels in labels(), anonymous in any::<bool>(), created_at in any::<u64>(), removing in any::<bool>(),
    ) {
        let names = names.into_iter().map(|(name, since)| ImageNameV1 { name, since }).collect();
        let row = ImageRowV1 { facts, names };
        prop_assert_eq!(codec::decode::<ImageRowV1>(&codec::encode(&row)).unwrap(), row);
        let phase = if removing { VolumePhaseV1::Removing } else { VolumePhaseV1::Ready };
        let row = VolumeRowV1 { labels, anonymous, created_at, phase };
        prop_assert_eq!(codec::decode::<VolumeRowV1>(&codec::encode(&row)).unwrap(), row);
    }

    #[test]
    fn events_round_trip(context in context(), event in event()) {
        let bytes = event.encode(&context);
        prop_assert_eq!(ContainerEvent::decode(event.kind().number, &bytes).unwrap().unwrap(), (context, event));
    }

    #[test]
    fn rows_round_trip(row in row()) {
        prop_assert_eq!(codec::decode::<ContainerRowV1>(&codec::encode(&row)).unwrap(), row);
    }

    /// A prefix of an event does not decode, nor an event followed by more bytes.
    #[test]
    fn events_have_one_length(
        context in context(), event in event(), cut in any::<prop::sample::Index>(), more in any::<u8>(),
    ) {
        let mut bytes = event.encode(&context);
        let kind = event.kind().number;
        prop_assert!(ContainerEvent::decode(kind, &bytes[..cut.index(bytes.len())]).unwrap().is_err());
        bytes.push(more);
        prop_assert!(ContainerEvent::decode(kind, &bytes).unwrap().is_err());
    }

    /// Decodable bytes are exactly the encoding of their value: nothing is skipped, nothing has two encodings.
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        for kind in kinds() {
            if let Some(Ok((context, event))) = ContainerEvent::decode(kind.number, &bytes) {
                prop_assert_eq!(event.encode(&context), bytes.clone());
            }
            let _ = check_event(kind.number, &bytes).unwrap();
        }
        for stream in 0..=u8::MAX {
            let _ = check_row(stream, &bytes);
        }
        if let Ok(row) = codec::decode::<ContainerRowV1>(&bytes) {
            prop_assert_eq!(codec::encode(&row), bytes);
        }
    }

    /// A damaged byte in a real event: the decoder reads far into the shape before it meets the damage.
    #[test]
    fn damaged_events_never_panic(
        context in context(), event in event(), at in any::<prop::sample::Index>(), value in any::<u8>(),
    ) {
        let mut bytes = event.encode(&context);
        let at = at.index(bytes.len());
        bytes[at] = value;
        if let Ok((context, event)) = ContainerEvent::decode(event.kind().number, &bytes).unwrap() {
            prop_assert_eq!(event.encode(&context), bytes);
        }
    }

    #[test]
    fn a_value_that_is_too_large_is_rejected(extra in 0usize..100) {
        let event = ContainerEvent::Removed(RemovedV1 {});
        let context = ContextV1 {
            actor: ActorV1::Engine,
            operation: [0; 8],
            name: "x".repeat(SIZE_LIMIT as usize - 28 - 50 + extra),
            image: String::new(),
        };
        let bytes = event.encode(&context);
        let fits = bytes.len() as u64 <= SIZE_LIMIT;
        prop_assert_eq!(fits, extra <= 50);
        prop_assert_eq!(ContainerEvent::decode(32, &bytes).unwrap().is_ok(), fits);
    }
}
