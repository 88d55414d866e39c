//! kill -9 at many instants, then again until it works: nothing lost, nothing mixed.
//!
//! The instants are spread over the time that an undisturbed run takes, measured in the same test.

use crate::world::{World, assert_same, document, run, said, text};
use penstock_testkit::Tree;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Runs to the end and returns how long that took.
fn timed(mut command: Command) -> Duration {
    let began = Instant::now();
    let output = command.output().expect("starts");
    assert!(output.status.success(), "{}", said(&output));
    began.elapsed()
}

/// Starts the command and kills it after `life`, unless it ends before that; whether it was killed.
fn killed_after(mut command: Command, life: Duration) -> bool {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    let ended = ends_within(&mut child, life);
    if !ended {
        child.kill().expect("our own child");
    }
    child.wait().expect("our own child");
    !ended
}

/// Looks often, because the moment between two looks is how far an instant may be off.
fn ends_within(child: &mut Child, life: Duration) -> bool {
    let until = Instant::now() + life;
    while Instant::now() < until {
        if child.try_wait().expect("our own child").is_some() {
            return true;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    false
}

/// `count` instants over `whole`, the first almost at once.
fn instants(whole: Duration, count: u32) -> impl Iterator<Item = Duration> {
    (0..count).map(move |number| whole * (2 * number + 1) / (2 * count))
}

fn builds() -> (Tree, Tree) {
    let first = Tree::small_game(11, 4_000_000);
    let second = first.next_release();
    (first, second)
}

#[test]
fn a_publish_into_a_directory_is_killed_and_simply_run_again() {
    let (first, second) = builds();
    let calm = World::asleep();
    let whole = timed(calm.publish_command(&first, "1.0"));
    let mut world = World::asleep();
    let kills = instants(whole, 12).filter(|life| killed_after(world.publish_command(&first, "1.0"), *life)).count();
    assert!(kills > 5, "only {kills} runs were killed before they ended");
    world.publish(&first, "1.0");
    let kills = instants(whole, 8).filter(|life| killed_after(world.publish_command(&second, "1.1"), *life)).count();
    assert!(kills > 2, "only {kills} runs were killed before they ended");
    world.publish(&second, "1.1");
    world.wake();
    let into = world.path("install");
    world.pull(&into);
    assert_same(&second, &into);
    let old = world.path("old");
    let output = world.pull_command(&old).args(["--version", "1.0"]).output().expect("starts");
    assert!(output.status.success(), "{}", said(&output));
    assert_same(&first, &old);
}

#[test]
fn a_node_is_killed_while_it_takes_a_publish() {
    let (first, _) = builds();
    let calm = World::awake();
    let whole = timed(calm.publish_command(&first, "1.0"));
    let mut world = World::awake();
    for life in instants(whole, 8) {
        let mut child =
            world.publish_command(&first, "1.0").stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
        ends_within(&mut child, life);
        world.daemon().kill_9();
        // The publisher notices that its node is gone, or was done before.
        assert!(ends_within(&mut child, Duration::from_secs(60)), "the publisher waits for a dead node");
        world.wake();
    }
    world.publish(&first, "1.0");
    let into = world.path("install");
    world.pull(&into);
    assert_same(&first, &into);
}

#[test]
fn an_install_is_killed_and_simply_run_again() {
    let (first, _) = builds();
    let world = World::awake();
    world.publish(&first, "1.0");
    let whole = timed(slow(world.pull_command(&world.path("calm"))));
    // In one directory: each run goes on where the one before was killed.
    let into = world.path("install");
    let kills = instants(whole / 8, 15).filter(|life| killed_after(slow(world.pull_command(&into)), *life)).count();
    assert!(kills > 10, "only {kills} runs were killed before they ended");
    world.pull(&into);
    assert_same(&first, &into);
    // In a new directory each time: every stage of a first install is hit.
    let mut kills = 0;
    for (number, life) in instants(whole, 8).enumerate() {
        let into = world.path(&format!("fresh-{number}"));
        kills += u32::from(killed_after(slow(world.pull_command(&into)), life));
        world.pull(&into);
        assert_same(&first, &into);
    }
    assert!(kills > 5, "only {kills} runs were killed before they ended");
}

#[test]
fn an_update_is_killed_and_leaves_the_old_version_the_new_one_or_says_so() {
    let (first, second) = builds();
    let world = World::awake();
    world.publish(&first, "1.0");
    let calm = world.path("calm");
    world.pull(&calm);
    let into = world.path("install");
    world.pull(&into);
    world.publish(&second, "1.1");
    let whole = timed(world.pull_command(&calm));
    let mut kills = 0;
    for life in instants(whole, 30) {
        if !killed_after(world.pull_command(&into), life) {
            // It was done: back to the first version for the next instant.
            back_to_first(&world, &into);
            continue;
        }
        kills += 1;
        assert_one_version_or_said(&first, &second, &into);
    }
    assert!(kills > 5, "only {kills} runs were killed before they ended");
    world.pull(&into);
    assert_same(&second, &into);
}

#[test]
fn a_node_is_killed_while_a_client_pulls() {
    let (first, _) = builds();
    let mut world = World::awake();
    world.publish(&first, "1.0");
    let whole = timed(slow(world.pull_command(&world.path("calm"))));
    let into = world.path("install");
    for life in instants(whole, 4) {
        let mut child =
            slow(world.pull_command(&into)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
        ends_within(&mut child, life);
        world.daemon().kill_9();
        assert!(ends_within(&mut child, Duration::from_secs(120)), "the client waits for a dead node");
        world.wake();
    }
    world.pull(&into);
    assert_same(&first, &into);
}

/// Slow enough that a kill falls into the middle.
fn slow(mut pull: Command) -> Command {
    pull.args(["--limit-rate", "4MB"]);
    pull
}

fn back_to_first(world: &World, into: &Path) {
    let output = world.pull_command(into).args(["--version", "1.0"]).output().expect("starts");
    assert!(output.status.success(), "{}", said(&output));
}

fn assert_one_version_or_said(first: &Tree, second: &Tree, into: &Path) {
    let whole = |tree: &Tree| tree.differences(into).expect("readable").is_empty();
    if whole(first) || whole(second) {
        return;
    }
    let verify = run(["verify", text(into), "--json"]);
    assert_eq!(verify.status.code(), Some(1), "a mix of two versions is called intact: {}", said(&verify));
    assert_eq!(document(&verify)["unfinished"], true, "a mix of two versions does not say so: {}", said(&verify));
}
