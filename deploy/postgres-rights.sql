-- What workers do not need, taken back. Once, as the owner, after the first `holdfast db migrate`:
--   psql --file=deploy/postgres-rights.sql 'postgresql://holdfast_owner@db.example/holdfast'
REVOKE INSERT, UPDATE, DELETE ON holdfast.migrations FROM holdfast_worker;
REVOKE INSERT, DELETE ON holdfast.partitions FROM holdfast_worker;
REVOKE DELETE ON holdfast.secrets, holdfast.documents FROM holdfast_worker;
