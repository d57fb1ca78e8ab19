//! Rules about the repository, as tests. The rules are in `tests/`; nothing is here.
