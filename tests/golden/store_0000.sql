BEGIN TRANSACTION;
CREATE TABLE baselines (
	target VARCHAR NOT NULL, 
	release VARCHAR NOT NULL, 
	"key" VARCHAR NOT NULL, 
	at VARCHAR NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (target, release, "key")
);
INSERT INTO "baselines" VALUES('t','a','k','2026-01-01T00:00:00.000000+00:00','{"release": "a", "strata": {"c/direct": [40, 1]}, "sentinels": [["b1", "direct"]], "flips": [1, 0]}');
CREATE TABLE epochs (
	id INTEGER NOT NULL, 
	target VARCHAR NOT NULL, 
	release VARCHAR NOT NULL, 
	"key" VARCHAR NOT NULL, 
	started_at VARCHAR NOT NULL, 
	baseline TEXT, 
	PRIMARY KEY (id)
);
INSERT INTO "epochs" VALUES(1,'t','r','k','2026-01-01T00:00:00.000000+00:00','{"release": "a", "strata": {"c/direct": [40, 1]}, "sentinels": [["b1", "direct"]], "flips": [1, 0]}');
CREATE TABLE events (
	id INTEGER NOT NULL, 
	incident VARCHAR NOT NULL, 
	version INTEGER NOT NULL, 
	at VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	note TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "events" VALUES(1,'i1',0,'2026-01-01T00:00:00.000000+00:00','DETECTED','n');
INSERT INTO "events" VALUES(2,'i2',0,'2026-01-01T01:00:00.000000+00:00','DETECTED','n');
INSERT INTO "events" VALUES(3,'i1',1,'2026-01-01T00:00:00.000000+00:00','OPEN','confirmed');
CREATE TABLE incidents (
	id VARCHAR NOT NULL, 
	target VARCHAR NOT NULL, 
	opened_at VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	closed BOOLEAN NOT NULL, 
	version INTEGER NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "incidents" VALUES('i1','t','2026-01-01T00:00:00.000000+00:00','OPEN',0,1,'{"id": "i1", "target": "t", "release": "r", "state": "OPEN", "opened_at": "2026-01-01T00:00:00+00:00", "recipes": ["a", "b"], "recipe": 0, "attempt": 0, "attempts_max": 3, "candidate": "", "accepted": false, "last_good": "", "trials": [], "facts": {}, "events": [{"at": "2026-01-01T00:00:00+00:00", "state": "DETECTED", "note": "n"}, {"at": "2026-01-01T00:00:00+00:00", "state": "OPEN", "note": "confirmed"}], "version": 1}');
INSERT INTO "incidents" VALUES('i2','u','2026-01-01T01:00:00.000000+00:00','DETECTED',0,0,'{"id": "i2", "target": "u", "release": "r", "state": "DETECTED", "opened_at": "2026-01-01T01:00:00+00:00", "recipes": ["a", "b"], "recipe": 0, "attempt": 0, "attempts_max": 3, "candidate": "", "accepted": false, "last_good": "", "trials": [], "facts": {}, "events": [{"at": "2026-01-01T01:00:00+00:00", "state": "DETECTED", "note": "n"}], "version": 0}');
CREATE TABLE judge_checks (
	id INTEGER NOT NULL, 
	target VARCHAR NOT NULL, 
	series INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	kind VARCHAR NOT NULL, 
	judge VARCHAR NOT NULL, 
	template_sha256 VARCHAR NOT NULL, 
	data_sha256 VARCHAR NOT NULL, 
	"row" VARCHAR NOT NULL, 
	label BOOLEAN NOT NULL, 
	called BOOLEAN, 
	missing VARCHAR NOT NULL, 
	at VARCHAR NOT NULL, 
	"by" VARCHAR NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "judge_checks" VALUES(1,'t',1,1,'calibration','j/1','0000000000000000000000000000000000000000000000000000000000000000','1111111111111111111111111111111111111111111111111111111111111111','r1',0,1,'','2026-01-01T00:00:00.000000+00:00','');
INSERT INTO "judge_checks" VALUES(2,'t',1,2,'calibration','j/1','0000000000000000000000000000000000000000000000000000000000000000','1111111111111111111111111111111111111111111111111111111111111111','r2',1,NULL,'judge_timeout','2026-01-01T00:00:00.000000+00:00','');
CREATE TABLE looks (
	id INTEGER NOT NULL, 
	target VARCHAR NOT NULL, 
	epoch INTEGER NOT NULL, 
	"key" VARCHAR NOT NULL, 
	position INTEGER NOT NULL, 
	at VARCHAR NOT NULL, 
	missing VARCHAR NOT NULL, 
	readings TEXT NOT NULL, 
	score FLOAT, 
	PRIMARY KEY (id)
);
INSERT INTO "looks" VALUES(1,'t',1,'k',1,'2026-01-01T00:00:00.000000+00:00','timeout','[]',NULL);
CREATE TABLE orders (
	id INTEGER NOT NULL, 
	incident VARCHAR NOT NULL, 
	word VARCHAR NOT NULL, 
	"by" VARCHAR NOT NULL, 
	at VARCHAR NOT NULL, 
	done BOOLEAN NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "orders" VALUES(1,'i1','abort','ann','2026-01-01T00:00:00.000000+00:00',0);
CREATE TABLE pauses (
	target VARCHAR NOT NULL, 
	until VARCHAR, 
	"by" VARCHAR NOT NULL, 
	at VARCHAR NOT NULL, 
	PRIMARY KEY (target)
);
INSERT INTO "pauses" VALUES('t',NULL,'ann','2026-01-01T00:00:00.000000+00:00');
CREATE TABLE probes (
	id INTEGER NOT NULL, 
	target VARCHAR NOT NULL, 
	epoch INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	sweep VARCHAR NOT NULL, 
	at VARCHAR NOT NULL, 
	purpose VARCHAR NOT NULL, 
	release VARCHAR NOT NULL, 
	suite VARCHAR NOT NULL, 
	behavior VARCHAR NOT NULL, 
	category VARCHAR NOT NULL, 
	attack VARCHAR NOT NULL, 
	judge VARCHAR NOT NULL, 
	seed INTEGER NOT NULL, 
	harmful BOOLEAN, 
	score FLOAT, 
	missing VARCHAR NOT NULL, 
	probability FLOAT NOT NULL, 
	tokens INTEGER NOT NULL, 
	weight FLOAT NOT NULL, 
	sampled BOOLEAN NOT NULL, 
	stream VARCHAR NOT NULL, 
	share FLOAT NOT NULL, 
	"before" BOOLEAN, 
	PRIMARY KEY (id)
);
INSERT INTO "probes" VALUES(1,'t',1,1,'s1','2026-01-01T00:00:00.000000+00:00','routine','r','harm','b','c','direct','j/1',7,1,5.0,'',0.25,30,10.0,0,'hunt',0.125,1);
INSERT INTO "probes" VALUES(2,'t',1,2,'s1','2026-01-01T00:00:00.000000+00:00','routine','r','harm','b','c','direct','j/1',7,NULL,NULL,'timeout',0.25,30,10.0,0,'hunt',0.125,1);
INSERT INTO "probes" VALUES(3,'t',1,3,'s1','2026-01-01T00:00:00.000000+00:00','routine','r','harm','b','c','direct','j/1',7,0,1.0,'',0.25,30,10.0,0,'hunt',0.125,1);
CREATE TABLE releases (
	target VARCHAR NOT NULL, 
	release VARCHAR NOT NULL, 
	good BOOLEAN NOT NULL, 
	marked_at VARCHAR NOT NULL, 
	profile TEXT, 
	profile_key VARCHAR NOT NULL, 
	PRIMARY KEY (target, release)
);
INSERT INTO "releases" VALUES('t','a',1,'2026-01-01T00:00:00.000000+00:00','{"asr": 0.25}','k');
CREATE TABLE spending (
	target VARCHAR NOT NULL, 
	day VARCHAR NOT NULL, 
	tokens INTEGER NOT NULL, 
	PRIMARY KEY (target, day)
);
INSERT INTO "spending" VALUES('t','2026-01-01',30);
CREATE UNIQUE INDEX one_open_incident ON incidents (target) WHERE closed = 0;
CREATE INDEX ix_events_incident ON events (incident);
CREATE TRIGGER events_no_update BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events is append-only'); END;
CREATE TRIGGER events_no_delete BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events is append-only'); END;
CREATE INDEX ix_epochs_target ON epochs (target);
CREATE UNIQUE INDEX one_record ON probes (epoch, purpose, position) WHERE epoch > 0;
CREATE INDEX ix_probes_sweep ON probes (sweep);
CREATE TRIGGER probes_no_update BEFORE UPDATE ON probes BEGIN SELECT RAISE(ABORT, 'probes is append-only'); END;
CREATE TRIGGER probes_no_delete BEFORE DELETE ON probes BEGIN SELECT RAISE(ABORT, 'probes is append-only'); END;
CREATE INDEX ix_orders_incident ON orders (incident);
CREATE UNIQUE INDEX one_verdict_at_a_place ON judge_checks (target, series, position);
CREATE TRIGGER judge_checks_no_update BEFORE UPDATE ON judge_checks BEGIN SELECT RAISE(ABORT, 'judge_checks is append-only'); END;
CREATE TRIGGER judge_checks_no_delete BEFORE DELETE ON judge_checks BEGIN SELECT RAISE(ABORT, 'judge_checks is append-only'); END;
CREATE UNIQUE INDEX one_look_at_a_place ON looks (target, epoch, "key", position);
CREATE TRIGGER looks_no_update BEFORE UPDATE ON looks BEGIN SELECT RAISE(ABORT, 'looks is append-only'); END;
CREATE TRIGGER looks_no_delete BEFORE DELETE ON looks BEGIN SELECT RAISE(ABORT, 'looks is append-only'); END;
COMMIT;
