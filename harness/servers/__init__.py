"""Where PostgreSQL comes from: embedded, a container, a local installation or a DSN, behind one plain value."""
