//! The journal from outside: real files, real processes, a disk that is really full.

mod crash;
mod damage;
mod follow;
mod full;
mod model;
mod scratch;
mod start;
