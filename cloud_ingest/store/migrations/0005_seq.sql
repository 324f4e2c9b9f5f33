-- Of nodes that do not acknowledge: the seq of the newest message that was stored (Sparkplug 3.0, 6.4.4). With it a historian
-- that takes over sees what was lost just then.
ALTER TABLE agent ADD COLUMN seq smallint;
