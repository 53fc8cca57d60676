/* 1 SOURCE  The typed values of BinXML as Windows prints them, and the escaped text around them. Pure. */
#ifndef HAECHI_BINVALUE_H
#define HAECHI_BINVALUE_H

#include "buf.h"
#include "slice.h"
#include "status.h"

enum binvalue_type {
    BINVALUE_NULL = 0x00,
    BINVALUE_STRING = 0x01,
    BINVALUE_ANSI = 0x02,
    BINVALUE_INT8 = 0x03,
    BINVALUE_UINT8 = 0x04,
    BINVALUE_INT16 = 0x05,
    BINVALUE_UINT16 = 0x06,
    BINVALUE_INT32 = 0x07,
    BINVALUE_UINT32 = 0x08,
    BINVALUE_INT64 = 0x09,
    BINVALUE_UINT64 = 0x0a,
    BINVALUE_REAL32 = 0x0b,
    BINVALUE_REAL64 = 0x0c,
    BINVALUE_BOOL = 0x0d,
    BINVALUE_BINARY = 0x0e,
    BINVALUE_GUID = 0x0f,
    BINVALUE_SIZE = 0x10,
    BINVALUE_FILETIME = 0x11,
    BINVALUE_SYSTEMTIME = 0x12,
    BINVALUE_SID = 0x13,
    BINVALUE_HEX32 = 0x14,
    BINVALUE_HEX64 = 0x15,
    BINVALUE_HANDLE = 0x20,
    BINVALUE_BINXML = 0x21,
    BINVALUE_EVTXML = 0x23,
    BINVALUE_ARRAY = 0x80 /* flag */
};

/* Where rendered XML goes. */
struct xmlout {
    struct buf *buf;
    size_t max_len;    /* of the whole buffer */
    enum status st;    /* the first failure: ST_NOMEM, ST_TOOBIG */
    bool in_attribute; /* TAB is escaped too */
};

/* Each returns false after a failure, which o->st holds; nothing is written then. */
bool xmlout_bytes(struct xmlout *o, const void *p, size_t len);
bool xmlout_utf16(struct xmlout *o, const uint8_t *p, size_t n_units); /* little-endian; escaped, surrogates as WTF-8 */
bool xmlout_name(struct xmlout *o, const uint8_t *p, size_t n_units);  /* as above; ST_FORMAT unless it can be a name */

/* One value; type without the array flag and not BINXML. ST_FORMAT in o->st when size and type do not go together. */
bool binvalue_put(struct xmlout *o, uint8_t type, struct slice value);

/* The item of an array (type without the flag) that begins at byte `at`; *ret_next is where the following one begins,
 * at least at + 1. Strings end with a NUL each. False: a type of which no arrays exist, or a short last item. */
bool binvalue_item(uint8_t type, struct slice array, size_t at, struct slice *ret_item, size_t *ret_next);

#endif
