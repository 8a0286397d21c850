//! Damage of each kind in a small volume: what is found, what repair does, and that it loses nothing.

mod bench;
mod kinds;
mod nothing_lost;

use super::*;
