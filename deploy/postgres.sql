-- The database of a Holdfast hub, with an owner, who may change the schema, and a role for workers, who may not.
-- Once, as a superuser, with psql 15 or later:
--   HOLDFAST_OWNER_PASSWORD=... HOLDFAST_WORKER_PASSWORD=... psql --file=deploy/postgres.sql
\getenv owner_password HOLDFAST_OWNER_PASSWORD
\getenv worker_password HOLDFAST_WORKER_PASSWORD
\set ON_ERROR_STOP on

CREATE ROLE holdfast_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE holdfast_worker LOGIN PASSWORD :'worker_password';
CREATE DATABASE holdfast OWNER holdfast_owner;
REVOKE ALL ON DATABASE holdfast FROM PUBLIC;
GRANT CONNECT ON DATABASE holdfast TO holdfast_worker;
ALTER DATABASE holdfast SET synchronous_commit = on;

\connect holdfast
REVOKE ALL ON SCHEMA public FROM PUBLIC;
SET ROLE holdfast_owner;
CREATE SCHEMA holdfast;
GRANT USAGE ON SCHEMA holdfast TO holdfast_worker;
-- What the owner makes later, workers may use. Sequences and types need no rights of their own.
ALTER DEFAULT PRIVILEGES IN SCHEMA holdfast GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO holdfast_worker;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA holdfast GRANT EXECUTE ON FUNCTIONS TO holdfast_worker;
