-- What workers do not need, taken back. Once, as the owner, after the first `bide db migrate`:
--   psql --file=deploy/postgres-rights.sql 'postgresql://bide_owner@db.example/bide'
REVOKE INSERT, UPDATE, DELETE ON bide.migrations FROM bide_worker;
REVOKE INSERT, DELETE ON bide.partitions FROM bide_worker;
REVOKE DELETE ON bide.secrets, bide.documents FROM bide_worker;
