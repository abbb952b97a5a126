/** A step of the schema. Once released it never changes: the next change is a new step. */
export interface Migration {
  version: number;
  name: string;
  sql: string;
}

export const migrations: readonly Migration[] = [
  {
    version: 1,
    name: "chain, projections and orders",
    sql: `
      -- Hexadecimal text, as programs write hashes, from and to the bytes that are stored.
      CREATE FUNCTION hex(value bytea) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
        AS $$ SELECT '0x' || encode(value, 'hex') $$;
      CREATE FUNCTION unhex(value text) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE
        AS $$ SELECT decode(substr(value, 3), 'hex') $$;

      -- Which market this is a copy of. One row.
      CREATE TABLE origin (
        one boolean PRIMARY KEY DEFAULT true CHECK (one),
        chain_id bigint NOT NULL,
        genesis bytea NOT NULL,
        from_block bigint NOT NULL,
        identity bytea NOT NULL,
        staking bytea NOT NULL,
        market bytea NOT NULL
      );

      -- The newest blocks; the highest is the cursor.
      CREATE TABLE blocks (
        number bigint PRIMARY KEY,
        hash bytea NOT NULL,
        parent_hash bytea NOT NULL,
        timestamp bigint NOT NULL
      );
      CREATE TABLE logs (
        block_number bigint NOT NULL,
        log_index bigint NOT NULL,
        block_hash bytea NOT NULL,
        timestamp bigint NOT NULL,
        transaction_hash bytea NOT NULL,
        transaction_index bigint NOT NULL,
        address bytea NOT NULL,
        topics bytea NOT NULL,
        data bytea NOT NULL,
        PRIMARY KEY (block_number, log_index)
      );
      -- What a row was before a block touched it (null: it was not there).
      CREATE TABLE undo (
        block_number bigint NOT NULL,
        relation text NOT NULL,
        key text NOT NULL,
        key_row jsonb NOT NULL,
        before jsonb,
        PRIMARY KEY (block_number, relation, key)
      );

      CREATE TABLE markets (
        market bytea PRIMARY KEY,
        guardian bytea NOT NULL,
        paused boolean NOT NULL
      );
      CREATE TABLE identities (
        identity bytea PRIMARY KEY,
        owner bytea,
        last_owner bytea,
        deactivated boolean NOT NULL,
        content_url text,
        content_valid_to numeric NOT NULL
      );
      CREATE TABLE nodes (
        operator bytea NOT NULL,
        index bigint NOT NULL,
        key bytea,
        wg_key bytea,
        prefix numeric,
        valid_to bigint NOT NULL,
        key_version bigint NOT NULL,
        wg_endpoint text NOT NULL,
        content_url text NOT NULL,
        profile_cid text NOT NULL,
        revoked boolean NOT NULL,
        epoch bigint NOT NULL,
        limits jsonb,
        active bigint NOT NULL,
        cpu_milli bigint NOT NULL,
        memory_mib bigint NOT NULL,
        disk_mib bigint NOT NULL,
        gpus bigint NOT NULL,
        declined_at bigint NOT NULL,
        touched boolean NOT NULL,
        PRIMARY KEY (operator, index)
      );
      CREATE TABLE acceptances (
        operator bytea NOT NULL,
        what bytea NOT NULL,
        accepted boolean NOT NULL,
        PRIMARY KEY (operator, what)
      );
      CREATE TABLE stakes (
        operator bytea NOT NULL,
        token bytea NOT NULL,
        free numeric NOT NULL,
        locked numeric NOT NULL,
        exiting numeric NOT NULL,
        exit_ready_at bigint NOT NULL,
        PRIMARY KEY (operator, token)
      );
      CREATE TABLE owed (
        account bytea NOT NULL,
        token bytea NOT NULL,
        amount numeric NOT NULL,
        PRIMARY KEY (account, token)
      );
      CREATE TABLE balances (
        account bytea NOT NULL,
        token bytea NOT NULL,
        amount numeric NOT NULL,
        PRIMARY KEY (account, token)
      );
      CREATE TABLE jobs (
        job_id bytea PRIMARY KEY,
        state text NOT NULL,
        request jsonb,
        job jsonb,
        requester bytea,
        payer bytea,
        token bytea,
        matcher bytea,
        spent numeric NOT NULL,
        open_replicas bigint NOT NULL,
        posted_at bigint,
        matched_at bigint,
        posted_tx bytea,
        matched_tx bytea,
        cancelled_tx bytea,
        first_block bigint NOT NULL,
        first_log bigint NOT NULL
      );
      CREATE UNIQUE INDEX jobs_order ON jobs (first_block, first_log);
      CREATE INDEX jobs_requester ON jobs (requester, first_block, first_log);
      CREATE INDEX jobs_state ON jobs (state, first_block, first_log);
      CREATE TABLE replicas (
        job_id bytea NOT NULL,
        replica bigint NOT NULL,
        operator bytea NOT NULL,
        index bigint NOT NULL,
        state text NOT NULL,
        offer_hash bytea NOT NULL,
        rate_x18 numeric NOT NULL,
        base_charge numeric NOT NULL,
        deposit numeric NOT NULL,
        matched_at bigint NOT NULL,
        last_at bigint NOT NULL,
        submitted_at bigint,
        result_hash bytea,
        result_bytes numeric,
        claimed numeric,
        disputed_at bigint,
        award numeric,
        charge numeric NOT NULL,
        refund numeric NOT NULL,
        slashed numeric NOT NULL,
        reason text,
        matched_tx bytea NOT NULL,
        submitted_tx bytea,
        disputed_tx bytea,
        ended_tx bytea,
        PRIMARY KEY (job_id, replica)
      );
      CREATE INDEX replicas_operator ON replicas (operator, job_id);
      CREATE TABLE leases (
        job_id bytea NOT NULL,
        replica bigint NOT NULL,
        charged_seconds bigint NOT NULL,
        added_seconds bigint NOT NULL,
        closing_at bigint NOT NULL,
        closing_by bytea,
        PRIMARY KEY (job_id, replica)
      );

      -- Signed orders. They prove themselves, and no reorganisation touches them.
      CREATE TABLE offers (
        offer_hash bytea PRIMARY KEY,
        seq bigserial NOT NULL UNIQUE,
        received_at_ms bigint NOT NULL,
        signer bytea NOT NULL,
        operator bytea NOT NULL,
        index bigint NOT NULL,
        token bytea NOT NULL,
        expires_at bigint NOT NULL,
        slot text NOT NULL UNIQUE,
        offer jsonb NOT NULL,
        signature bytea NOT NULL
      );
      CREATE INDEX offers_node ON offers (operator, index);
      CREATE INDEX offers_expiry ON offers (expires_at);
      CREATE TABLE requests (
        job_id bytea PRIMARY KEY,
        seq bigserial NOT NULL UNIQUE,
        received_at_ms bigint NOT NULL,
        payer bytea NOT NULL,
        open_until bigint NOT NULL,
        request jsonb NOT NULL,
        signature bytea NOT NULL,
        payer_signature bytea NOT NULL,
        operators jsonb,
        sources jsonb NOT NULL
      );
      CREATE INDEX requests_open ON requests (open_until);

      -- Every match that the engine decided to send, with what became of it.
      CREATE TABLE tries (
        job_id bytea NOT NULL,
        attempt bigint NOT NULL,
        outbox_key text NOT NULL UNIQUE,
        state text NOT NULL,
        at_ms bigint NOT NULL,
        offers jsonb NOT NULL,
        call_data bytea NOT NULL,
        holds jsonb NOT NULL,
        bar jsonb,
        error jsonb,
        transaction bytea,
        PRIMARY KEY (job_id, attempt)
      );
      CREATE INDEX tries_open ON tries (job_id) WHERE state = 'sent';
      CREATE TABLE outbox (
        id bigserial PRIMARY KEY,
        key text NOT NULL UNIQUE,
        open boolean NOT NULL,
        signed_at_ms bigint,
        gas_cost numeric NOT NULL,
        entry text NOT NULL
      );
      CREATE INDEX outbox_open ON outbox (id) WHERE open;
      CREATE INDEX outbox_signed ON outbox (signed_at_ms);
    `,
  },
  {
    version: 2,
    name: "change stream",
    sql: `
      -- What changed, in the order in which it was committed. The counter's row is locked until the commit, so nobody
      -- sees a number before all smaller ones.
      CREATE TABLE change_counter (one boolean PRIMARY KEY DEFAULT true CHECK (one), seq bigint NOT NULL);
      INSERT INTO change_counter (seq) VALUES (0);
      CREATE TABLE changes (
        seq bigint PRIMARY KEY,
        entity text NOT NULL,
        about text NOT NULL,
        body text NOT NULL
      );
    `,
  },
  {
    version: 3,
    name: "batches of matches",
    sql: `
      -- A transaction of the matcher makes one match or many.
      ALTER TABLE tries DROP CONSTRAINT tries_outbox_key_key;
      CREATE INDEX tries_outbox_key ON tries (outbox_key);
      ALTER TABLE tries ADD COLUMN item bigint NOT NULL DEFAULT 0;
      ALTER TABLE tries ADD COLUMN tip_worth numeric NOT NULL DEFAULT 0;
      CREATE TABLE batches (
        outbox_key text PRIMARY KEY,
        at_ms bigint NOT NULL,
        call_data bytea,
        gas_limit numeric,
        gas_cost numeric NOT NULL
      );
      CREATE INDEX batches_at ON batches (at_ms);
    `,
  },
  {
    version: 4,
    name: "orders of jobs as they were written",
    sql: `
      -- Nobody searches them, and a document that can be searched costs several times as much to write.
      ALTER TABLE jobs ALTER COLUMN request TYPE json USING request::json, ALTER COLUMN job TYPE json USING job::json;
      ALTER TABLE undo ALTER COLUMN before TYPE json USING before::json;
    `,
  },
  {
    version: 5,
    name: "several indexers on one database",
    sql: `
      -- Which transaction wrote an order last: who has read all that ended before one asks for what came since.
      ALTER TABLE offers ADD COLUMN tx xid8 NOT NULL DEFAULT pg_current_xact_id();
      ALTER TABLE requests ADD COLUMN tx xid8 NOT NULL DEFAULT pg_current_xact_id();
      CREATE INDEX offers_tx ON offers (tx);
      CREATE INDEX requests_tx ON requests (tx);
      CREATE FUNCTION note_writer() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN NEW.tx := pg_current_xact_id(); RETURN NEW; END $$;
      CREATE TRIGGER offers_tx BEFORE UPDATE ON offers FOR EACH ROW EXECUTE FUNCTION note_writer();
      CREATE TRIGGER requests_tx BEFORE UPDATE ON requests FOR EACH ROW EXECUTE FUNCTION note_writer();

      -- Wakes the other indexers on this database at the commit.
      CREATE FUNCTION give_notice() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN NOTIFY berth; RETURN NULL; END $$;
      CREATE TRIGGER blocks_notice AFTER INSERT OR DELETE ON blocks FOR EACH STATEMENT EXECUTE FUNCTION give_notice();
      CREATE TRIGGER changes_notice AFTER UPDATE ON change_counter FOR EACH STATEMENT EXECUTE FUNCTION give_notice();
      CREATE TRIGGER offers_notice AFTER INSERT ON offers FOR EACH STATEMENT EXECUTE FUNCTION give_notice();
      CREATE TRIGGER requests_notice AFTER INSERT OR UPDATE ON requests
        FOR EACH STATEMENT EXECUTE FUNCTION give_notice();
    `,
  },
  {
    version: 6,
    name: "what lists are asked by",
    sql: `
      -- Blocks that a reorganisation took away: what was made from one is known to be gone, however long ago that was. Of
      -- blocks that are deleted, those are gone that were above one that stays; the others are only too deep to be kept.
      CREATE TABLE orphans (hash bytea PRIMARY KEY, number bigint NOT NULL);
      CREATE FUNCTION keep_orphans() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          INSERT INTO orphans SELECT g.hash, g.number FROM gone g
            WHERE g.number > (SELECT max(b.number) FROM blocks b) ON CONFLICT DO NOTHING;
          RETURN NULL;
        END $$;
      CREATE TRIGGER blocks_orphaned AFTER DELETE ON blocks REFERENCING OLD TABLE AS gone
        FOR EACH STATEMENT EXECUTE FUNCTION keep_orphans();
      -- Tells this database from others that followed the same chain.
      ALTER TABLE change_counter ADD COLUMN home text NOT NULL
        DEFAULT substr(md5(random()::text || clock_timestamp()::text), 1, 8);

      CREATE INDEX jobs_token ON jobs (token, first_block, first_log);
      CREATE INDEX jobs_time ON jobs (coalesce(posted_at, matched_at), first_block);
      CREATE INDEX offers_token ON offers (token, seq);
      CREATE INDEX offers_region ON offers (lower(offer->>'region'), seq);
      CREATE INDEX offers_gpu_model ON offers (lower(offer->>'gpuModel'), seq);
      CREATE INDEX offers_cpu ON offers (((offer->>'cpuMilli')::numeric), seq);
      CREATE INDEX offers_memory ON offers (((offer->>'memoryMiB')::numeric), seq);
      CREATE INDEX offers_disk ON offers (((offer->>'diskMiB')::numeric), seq);
      CREATE INDEX offers_gpus ON offers (((offer->>'gpus')::numeric), seq);

      -- What became of orders and is not on the change stream yet: an order must not wait for the stream's number, which
      -- is locked until a commit.
      CREATE TABLE order_news (
        id bigserial PRIMARY KEY,
        entity text NOT NULL,
        key text NOT NULL,
        about text NOT NULL,
        content text
      );
      CREATE FUNCTION note_offer() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE o offers := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
        BEGIN
          INSERT INTO order_news (entity, key, about, content) VALUES ('offers', hex(o.offer_hash),
            concat_ws(' ', hex(o.offer_hash), hex(o.operator), lower(o.offer->>'requester')),
            CASE WHEN TG_OP <> 'DELETE' THEN json_build_object('offerHash', hex(o.offer_hash), 'offer', o.offer,
              'signature', hex(o.signature), 'receivedAt', o.received_at_ms / 1000)::text END);
          RETURN NULL;
        END $$;
      CREATE FUNCTION note_request() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE r requests := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
        BEGIN
          INSERT INTO order_news (entity, key, about, content) VALUES ('requests', hex(r.job_id),
            concat_ws(' ', hex(r.job_id), lower(r.request->>'requester'), hex(r.payer)),
            CASE WHEN TG_OP <> 'DELETE' THEN json_build_object('jobId', hex(r.job_id), 'request', r.request,
              'operators', r.operators, 'sources', r.sources, 'receivedAt', r.received_at_ms / 1000)::text END);
          RETURN NULL;
        END $$;
      CREATE TRIGGER offers_news AFTER INSERT OR DELETE ON offers FOR EACH ROW EXECUTE FUNCTION note_offer();
      CREATE TRIGGER requests_news AFTER INSERT OR UPDATE OR DELETE ON requests
        FOR EACH ROW EXECUTE FUNCTION note_request();
      -- Puts the next news on the stream, in order, at most "most"; the newest "keep" events stay. Returns how many it put.
      CREATE FUNCTION announce_orders(keep bigint, most bigint) RETURNS bigint LANGUAGE plpgsql AS $$
        DECLARE
          last bigint;
          added bigint;
        BEGIN
          IF NOT EXISTS (SELECT 1 FROM order_news) THEN RETURN 0; END IF;
          -- One at a time: what was noted later must not come first.
          SELECT c.seq INTO last FROM change_counter c FOR UPDATE;
          WITH taken AS (DELETE FROM order_news
            WHERE id IN (SELECT n.id FROM order_news n ORDER BY n.id LIMIT most) RETURNING *)
            INSERT INTO changes (seq, entity, about, body)
            SELECT last + row_number() OVER (ORDER BY t.id), t.entity, t.about,
              concat('{"block":null,"key":"', t.key, '","row":', coalesce(t.content, 'null'), '}') FROM taken t;
          GET DIAGNOSTICS added = ROW_COUNT;
          UPDATE change_counter SET seq = last + added;
          IF (last + added) % 1000 < added THEN DELETE FROM changes WHERE seq <= last + added - keep; END IF;
          RETURN added;
        END $$;
    `,
  },
  {
    version: 7,
    name: "what decisions saw",
    sql: `
      -- The root of each is published with the matches that came of it.
      CREATE TABLE snapshots (
        round bigserial PRIMARY KEY,
        root bytea NOT NULL,
        at_ms bigint NOT NULL,
        round_text text NOT NULL
      );
      CREATE INDEX snapshots_root ON snapshots (root);
      CREATE INDEX snapshots_at ON snapshots (at_ms);
      -- An offer as it was from a round on, until another.
      CREATE TABLE snapshot_leaves (
        offer_hash bytea NOT NULL,
        from_round bigint NOT NULL,
        until_round bigint,
        leaf text NOT NULL,
        PRIMARY KEY (offer_hash, from_round)
      );
      CREATE INDEX snapshot_leaves_now ON snapshot_leaves (offer_hash) WHERE until_round IS NULL;
      CREATE INDEX snapshot_leaves_until ON snapshot_leaves (until_round) WHERE until_round IS NOT NULL;
    `,
  },
  {
    version: 8,
    name: "orders of both kinds in one row of numbers, and other indexers",
    sql: `
      -- Whose numbers these are: another database, another name.
      CREATE TABLE order_log (
        one boolean PRIMARY KEY DEFAULT true CHECK (one),
        id text NOT NULL DEFAULT gen_random_uuid()::text
      );
      INSERT INTO order_log DEFAULT VALUES;
      CREATE SEQUENCE order_seq;
      ALTER TABLE requests DISABLE TRIGGER requests_news; -- nothing becomes of them
      WITH top AS (
        SELECT greatest((SELECT max(seq) FROM offers), (SELECT max(seq) FROM requests), 0) AS seq
      ), numbered AS (
        SELECT kind, id, (SELECT seq FROM top) + row_number() OVER (ORDER BY received_at_ms, kind, seq) AS seq FROM (
          SELECT 'offer' AS kind, offer_hash AS id, received_at_ms, seq FROM offers
          UNION ALL SELECT 'request', job_id, received_at_ms, seq FROM requests) known
      ), renumbered AS (
        UPDATE offers o SET seq = n.seq FROM numbered n WHERE n.kind = 'offer' AND n.id = o.offer_hash
      )
      UPDATE requests r SET seq = n.seq FROM numbered n WHERE n.kind = 'request' AND n.id = r.job_id;
      ALTER TABLE requests ENABLE TRIGGER requests_news;
      SELECT setval('order_seq', greatest((SELECT max(seq) FROM offers), (SELECT max(seq) FROM requests), 0) + 1);
      ALTER TABLE offers ALTER COLUMN seq SET DEFAULT nextval('order_seq');
      ALTER TABLE requests ALTER COLUMN seq SET DEFAULT nextval('order_seq');

      -- How far other indexers were read.
      CREATE TABLE peer_cursors (
        url text PRIMARY KEY,
        log text NOT NULL,
        after bigint NOT NULL,
        at timestamptz NOT NULL
      );
      -- Announcements of indexers: the attribute did/svc/BerthIndexer.
      CREATE INDEX logs_indexers ON logs (block_number, log_index)
        WHERE substr(data, 1, 32) = '\\x6469642f7376632f4265727468496e6465786572000000000000000000000000';
    `,
  },
];
