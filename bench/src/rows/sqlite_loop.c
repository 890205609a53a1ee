/* Upserts rows into shard files' table kv in a tight loop: one thread, one prepared statement, one transaction a flush.
 * The baseline of applying to SQLite, linked to the very SQLite that the shard is.
 *
 *   sqlite_loop FILE FLUSHES ROWS KEYS FIRST_OFFSET SEED CACHE_KIB
 *
 * The file was made by a shard. Keys and order are those of flushes.rs; all rows are made before the clock starts.
 * Prints rows, and seconds of wall time. */
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { VALUE_BYTES = 256, KEY_BYTES = 17 };

struct row { char key[KEY_BYTES + 1]; int64_t offset; };

static uint64_t scattered(uint64_t number) {
    uint64_t z = (number + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static int by_key(const void *a, const void *b) {
    const struct row *one = a, *other = b;
    int order = memcmp(one->key, other->key, KEY_BYTES);
    if (order) return order;
    return one->offset < other->offset ? 1 : -1;
}

static void check(sqlite3 *db, int got, int wanted) {
    if (got == wanted) return;
    fprintf(stderr, "sqlite_loop: %s\n", sqlite3_errmsg(db));
    exit(1);
}

static void run(sqlite3 *db, const char *sql) { check(db, sqlite3_exec(db, sql, 0, 0, 0), SQLITE_OK); }

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    if (argc != 8) return fprintf(stderr, "usage: see the source\n"), 2;
    int64_t flushes = atoll(argv[2]), rows = atoll(argv[3]), first = atoll(argv[5]), total = 0;
    uint64_t keys = strtoull(argv[4], 0, 10), seed = strtoull(argv[6], 0, 10);
    struct row *all = malloc(sizeof(struct row) * (size_t)(flushes * rows));
    char value[VALUE_BYTES], sql[128];
    memset(value, 'v', sizeof value);
    for (int64_t i = 0; i < flushes * rows; i++) {
        all[i].offset = first + i;
        uint64_t key = scattered((uint64_t)(first + i) + (seed << 40)) % keys;
        snprintf(all[i].key, sizeof all[i].key, "user:%012llu", (unsigned long long)(key % 1000000000000u));
    }
    for (int64_t f = 0; f < flushes; f++) qsort(all + f * rows, (size_t)rows, sizeof(struct row), by_key);

    sqlite3 *db;
    check(0, sqlite3_open(argv[1], &db), SQLITE_OK);
    run(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 2000; "
            "PRAGMA journal_size_limit = 134217728; PRAGMA temp_store = MEMORY");
    snprintf(sql, sizeof sql, "PRAGMA cache_size = -%s", argv[7]);
    run(db, sql);
    sqlite3_stmt *upsert, *mark;
    check(db, sqlite3_prepare_v2(db,
        "INSERT INTO kv (partition, tenant, key, version, value, content_type, expires_at, created_at, updated_at, "
        "tombstone, checksum) VALUES (0, 'default', ?, ?, ?, 'application/octet-stream', NULL, ?, ?, 0, ?) "
        "ON CONFLICT (tenant, key, partition) DO UPDATE SET version = excluded.version, value = excluded.value, "
        "content_type = excluded.content_type, expires_at = excluded.expires_at, created_at = CASE WHEN kv.tombstone OR "
        "kv.expires_at <= excluded.created_at THEN excluded.created_at ELSE kv.created_at END, "
        "updated_at = excluded.updated_at, tombstone = excluded.tombstone, checksum = excluded.checksum "
        "WHERE kv.version < excluded.version", -1, &upsert, 0), SQLITE_OK);
    check(db, sqlite3_prepare_v2(db, "UPDATE watermark SET applied_offset = ? WHERE partition = 0", -1, &mark, 0),
          SQLITE_OK);
    double began = now();
    for (int64_t f = 0; f < flushes; f++) {
        run(db, "BEGIN IMMEDIATE");
        struct row *flush = all + f * rows;
        for (int64_t i = 0; i < rows; i++) {
            if (i && !memcmp(flush[i].key, flush[i - 1].key, KEY_BYTES)) continue;
            sqlite3_bind_blob(upsert, 1, flush[i].key, KEY_BYTES, SQLITE_STATIC);
            sqlite3_bind_int64(upsert, 2, ((int64_t)1 << 48) + flush[i].offset);
            sqlite3_bind_blob(upsert, 3, value, VALUE_BYTES, SQLITE_STATIC);
            for (int at = 4; at <= 6; at++) sqlite3_bind_int64(upsert, at, flush[i].offset);
            check(db, sqlite3_step(upsert), SQLITE_DONE);
            sqlite3_reset(upsert);
            total++;
        }
        sqlite3_bind_int64(mark, 1, first + (f + 1) * rows - 1);
        check(db, sqlite3_step(mark), SQLITE_DONE);
        sqlite3_reset(mark);
        run(db, "COMMIT");
    }
    printf("%lld %.6f\n", (long long)(flushes * rows), now() - began);
    sqlite3_finalize(upsert);
    sqlite3_finalize(mark);
    return sqlite3_close(db) != SQLITE_OK;
}
