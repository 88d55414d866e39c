//! The listen side of the edge over real sockets: versions, limits, deadlines, proxies, drain, reload, systemd.

mod admin;
mod drain;
mod limits;
mod reload;
mod rig;
mod systemd;
mod versions;
mod whole;
