//! Catalogs, databases, tables and views of a session.
