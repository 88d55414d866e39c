//! A real file system in a file, whose power can be cut: what was not synced by then is gone.
//!
//! The volume is ext4 on a loop device, with the options under which it protects careless programs least. The cut is
//! ext4's own `EXT4_IOC_SHUTDOWN` without a flush of its log (`FS_IOC_SHUTDOWN` in xfstests' words, where it is used
//! for the same purpose): from that moment nothing more reaches the disk, and mounting it again replays the log as
//! after a real power cut. Needs root, loop devices and e2fsprogs.

use crate::tools::require_tool;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Names are renamed over old ones before their data is written, data is written in any order, and the log is
/// committed every second whatever the program does.
const OPTIONS: &str = "loop,data=writeback,noauto_da_alloc,commit=1";

/// `EXT4_GOING_FLAGS_NOLOGFLUSH` of the kernel's ext4.h, by its ioctl `_IOR('X', 125, __u32)`. Waits for a line, so that
/// no interpreter has to start in the moment that counts.
const CUT: &str = "import fcntl, os, struct, sys
dir = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY)
print('ready', flush=True)
sys.stdin.readline()
fcntl.ioctl(dir, 0x8004587d, struct.pack('I', 2))
";

/// See the module's docs. Unmounted when dropped.
#[derive(Debug)]
pub struct Volume {
    image: PathBuf,
    dir: PathBuf,
    is_mounted: bool,
}

/// Cuts the power of one volume.
#[derive(Debug)]
pub struct PowerSwitch(Child);

impl Volume {
    /// An empty volume of this size, mounted at `dir`, an empty directory; its image lies at `image`.
    ///
    /// # Errors
    /// When it cannot be made or mounted.
    pub fn new(image: &Path, dir: &Path, mebibytes: u64) -> io::Result<Self> {
        fs::File::create(image)?.set_len(mebibytes << 20)?;
        must(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(image))?;
        let volume = Self::open(image, dir)?;
        fs::remove_dir(dir.join("lost+found"))?;
        Ok(volume)
    }

    /// A volume that was made before.
    ///
    /// # Errors
    /// When it cannot be mounted.
    pub fn open(image: &Path, dir: &Path) -> io::Result<Self> {
        let mut volume = Self { image: image.to_owned(), dir: dir.to_owned(), is_mounted: false };
        volume.mount()?;
        Ok(volume)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A switch that waits.
    ///
    /// # Errors
    /// When Python cannot be started.
    pub fn switch(&self) -> io::Result<PowerSwitch> {
        require_tool("python3", "python3");
        let mut child = Command::new("python3")
            .args(["-c", CUT])
            .arg(&self.dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut ready = [0; 6];
        let out = child.stdout.as_mut().ok_or_else(|| io::Error::other("no stdout"))?;
        io::Read::read_exact(out, &mut ready)?;
        Ok(PowerSwitch(child))
    }

    /// Brings the power back: the volume as a machine finds it when it starts again. Whoever had files open on it must
    /// be gone.
    ///
    /// # Errors
    /// When it cannot be mounted.
    pub fn restart(&mut self) -> io::Result<()> {
        self.unmount()?;
        self.mount()
    }

    /// Unmounts it; its image can be copied then.
    ///
    /// # Errors
    /// When somebody still uses it.
    pub fn unmount(&mut self) -> io::Result<()> {
        // A process that was killed a moment ago may still be on its way out.
        for _ in 0..50 {
            if Command::new("umount").arg(&self.dir).stderr(Stdio::null()).status()?.success() {
                self.is_mounted = false;
                return Ok(());
            }
            std::thread::park_timeout(Duration::from_millis(100));
        }
        Err(io::Error::other(format!("{} is still in use", self.dir.display())))
    }

    fn mount(&mut self) -> io::Result<()> {
        must(Command::new("mount").args(["-t", "ext4", "-o", OPTIONS]).arg(&self.image).arg(&self.dir))?;
        self.is_mounted = true;
        Ok(())
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if self.is_mounted {
            Command::new("umount").arg("--lazy").arg(&self.dir).status().ok();
        }
    }
}

impl PowerSwitch {
    /// Cuts the power now.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn cut(mut self) -> io::Result<()> {
        self.0.stdin.take().ok_or_else(|| io::Error::other("no stdin"))?.write_all(b"now\n")?;
        let status = self.0.wait()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("the power was not cut: {status}"))) }
    }
}

impl Drop for PowerSwitch {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn must(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!("{:?}: {said} (needs root, loop devices, e2fsprogs)", command.get_program())))
}
