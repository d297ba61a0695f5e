//! The backup protocol as bytes ↔ values (`docs/formats/wire-protocol.md`): no socket, no clock, no disk.
