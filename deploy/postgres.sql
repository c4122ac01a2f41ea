-- The database of a Bide hub, with an owner, who may change the schema, and a role for workers, who may not.
-- Once, as a superuser, with psql 15 or later:
--   BIDE_OWNER_PASSWORD=... BIDE_WORKER_PASSWORD=... psql --file=deploy/postgres.sql
\getenv owner_password BIDE_OWNER_PASSWORD
\getenv worker_password BIDE_WORKER_PASSWORD
\set ON_ERROR_STOP on

CREATE ROLE bide_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE bide_worker LOGIN PASSWORD :'worker_password';
CREATE DATABASE bide OWNER bide_owner;
REVOKE ALL ON DATABASE bide FROM PUBLIC;
GRANT CONNECT ON DATABASE bide TO bide_worker;
ALTER DATABASE bide SET synchronous_commit = on;

\connect bide
REVOKE ALL ON SCHEMA public FROM PUBLIC;
SET ROLE bide_owner;
CREATE SCHEMA bide;
GRANT USAGE ON SCHEMA bide TO bide_worker;
-- What the owner makes later, workers may use. Sequences and types need no rights of their own.
ALTER DEFAULT PRIVILEGES IN SCHEMA bide GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO bide_worker;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA bide GRANT EXECUTE ON FUNCTIONS TO bide_worker;
