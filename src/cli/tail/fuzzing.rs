//! What the fuzz targets reach of this module.

use super::state::State;

/// A state that can be read is written as what is read.
pub(in crate::cli) fn state(data: &[u8]) {
    let Ok(state) = serde_json::from_slice::<State>(data) else { return };
    let written = serde_json::to_vec(&state).expect("it can be written");
    assert_eq!(serde_json::from_slice::<State>(&written).expect("it can be read"), state);
}
