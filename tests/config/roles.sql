-- Run once on a new primary by psql, as superuser. MILLPOND_PASSWORD and REPLICATOR_PASSWORD stand in psql's environment.
\set ON_ERROR_STOP on
\getenv millpond_password MILLPOND_PASSWORD
\getenv replicator_password REPLICATOR_PASSWORD
CREATE ROLE replicator LOGIN REPLICATION PASSWORD :'replicator_password';
CREATE ROLE millpond LOGIN CREATEDB PASSWORD :'millpond_password';

-- What an operator's drills need besides, short of superuser. Functions are granted database by database: template1
-- hands the grants on to every new one.
GRANT pg_monitor, pg_signal_backend, pg_checkpoint TO millpond;
\set recovery 'pg_wal_replay_pause(), pg_wal_replay_resume(), pg_promote(boolean, integer), pg_switch_wal()'
\set counters 'pg_stat_reset(), pg_stat_reset_shared(text), pg_stat_reset_single_table_counters(oid)'
\connect template1
GRANT EXECUTE ON FUNCTION :recovery, :counters TO millpond;
\connect postgres
GRANT EXECUTE ON FUNCTION :recovery, :counters TO millpond;
CREATE DATABASE millpond OWNER millpond;
