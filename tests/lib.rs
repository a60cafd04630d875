//! What the whole-cluster tests share.
