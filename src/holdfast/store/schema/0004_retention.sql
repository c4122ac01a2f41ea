-- What retention needs: the ended instances in the order in which they ended, without the waiting ones between them.
CREATE INDEX instances_ended ON instances (updated_at, id) WHERE status IN ('Completed', 'Failed', 'Terminated');
