//! kill -9 at many instants, then again until it works: nothing lost, nothing mixed.
//!
//! The instants are spread over the time that an undisturbed run takes, measured in the same test. A machine that is
//! busy for a moment makes that time longer than most runs, so where an instant falls behind the end, earlier ones are
//! tried: [`kill_often`] goes on until as many runs were killed as the test is about. `PENSTOCK_FULL=1` asks for more.

use crate::world::{World, assert_same, document, run, said, text};
use penstock_testkit::Tree;
use std::cell::Cell;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Runs to the end and returns how long that took.
pub(crate) fn timed(mut command: Command) -> Duration {
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

/// How many kills a test wants: `short` in CI, four times that in the full run.
pub(crate) fn wanted(short: u32) -> u32 {
    if std::env::var_os("PENSTOCK_FULL").is_some_and(|full| full == "1") { 4 * short } else { short }
}

/// Kills runs of `start` at instants spread over `whole` until `kills` of them were killed, and calls `after` behind
/// each run with whether it was killed.
fn kill_often(whole: Duration, kills: u32, mut start: impl FnMut() -> Command, mut after: impl FnMut(bool)) {
    let mut killed = 0;
    let mut whole = whole;
    // Each round is over half the time of the one before, so that it ends with every run being killed.
    for _ in 0..8 {
        for life in instants(whole, kills) {
            let was_killed = killed_after(start(), life);
            after(was_killed);
            killed += u32::from(was_killed);
            if killed >= kills {
                return;
            }
        }
        whole /= 2;
    }
    panic!("only {killed} of {kills} runs could be killed before they ended");
}

/// Looks often, because the moment between two looks is how far an instant may be off.
pub(crate) fn ends_within(child: &mut Child, life: Duration) -> bool {
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
pub(crate) fn instants(whole: Duration, count: u32) -> impl Iterator<Item = Duration> {
    (0..count).map(move |number| whole * (2 * number + 1) / (2 * count))
}

pub(crate) fn builds() -> (Tree, Tree) {
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
    kill_often(whole, wanted(10), || world.publish_command(&first, "1.0"), |_| ());
    world.publish(&first, "1.0");
    let whole = timed(calm.publish_command(&second, "1.1"));
    kill_often(whole, wanted(6), || world.publish_command(&second, "1.1"), |_| ());
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
    kill_often(whole / 8, wanted(10), || slow(world.pull_command(&into)), |_| ());
    world.pull(&into);
    assert_same(&first, &into);
    // In a new directory each time: every stage of a first install is hit.
    let number = Cell::new(0);
    let fresh = || world.path(&format!("fresh-{}", number.get()));
    let check = |_| {
        world.pull(&fresh());
        assert_same(&first, &fresh());
        number.set(number.get() + 1);
    };
    kill_often(whole, wanted(6), || slow(world.pull_command(&fresh())), check);
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
    let check = |was_killed| {
        if was_killed {
            assert_one_version_or_said(&first, &second, &into);
        } else {
            assert_same(&second, &into);
        }
        // Whatever was left is finished or undone by the next run; the next instant finds the first version.
        back_to_first(&world, &into);
        assert_same(&first, &into);
    };
    kill_often(whole, wanted(16), || world.pull_command(&into), check);
    world.pull(&into);
    assert_same(&second, &into);
}

#[test]
fn a_client_outlives_the_restart_of_its_node() {
    let (first, _) = builds();
    let mut world = World::asleep_on_fixed_ports();
    world.wake();
    world.publish(&first, "1.0");
    let whole = timed(slow(world.pull_command(&world.path("calm"))));
    for (number, life) in instants(whole, 4).enumerate() {
        let into = world.path(&format!("install-{number}"));
        let child = slow(world.pull_command(&into)).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("starts");
        ends_within(&mut child, life);
        world.daemon().kill_9();
        world.wake();
        assert!(ends_within(&mut child, Duration::from_secs(150)), "the client still waits for its node");
        let output = child.wait_with_output().expect("our own child");
        assert!(output.status.success(), "{}", said(&output));
        assert_same(&first, &into);
    }
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

pub(crate) fn assert_one_version_or_said(first: &Tree, second: &Tree, into: &Path) {
    let whole = |tree: &Tree| tree.differences(into).expect("readable").is_empty();
    if whole(first) || whole(second) {
        return;
    }
    let verify = run(["verify", text(into), "--json"]);
    assert_eq!(verify.status.code(), Some(1), "a mix of two versions is called intact: {}", said(&verify));
    assert_eq!(document(&verify)["unfinished"], true, "a mix of two versions does not say so: {}", said(&verify));
}
