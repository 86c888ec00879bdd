-- Locks that no other login can take.
-- What: the schema pipeline_locks, and the lock that keeps migrations and runs apart.
-- Reads: nothing.
-- Needs: a role that may create schemas in this database.
--
-- `migrate` runs this file by itself before anything else, since it takes the lock first; run again
-- it changes nothing. A lock is a view: `lock table` locks it like a table, but it has no file, and
-- neither vacuum nor pg_dump ever waits for it. An advisory lock can be taken by every login of the
-- database that knows its number, and pg_locks shows the number. Nothing here is granted to anybody,
-- not even to pipeline_engine, which a second installation on the same server has, too.

do $$
begin
    if pg_catalog.to_regclass('pipeline_locks.migration') is not null then
        return;
    end if;
    create schema if not exists pipeline_locks;
    comment on schema pipeline_locks is
        'One view per lock, locked by the session that holds it; only the owner may use it.';
    create view pipeline_locks.migration as select true as is_lock;
    comment on view pipeline_locks.migration is
        'Locked shared by each run while it lives, and exclusively by a migration.';
end
$$;
