// Times as the API writes them.

/** Whole seconds in UTC, for instance `2026-01-02T03:04:05Z`. */
export const apiTime = (ms: number): string => new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z')

/** Microseconds, as Leases and Events carry them. */
export const apiMicroTime = (ms: number): string => new Date(ms).toISOString().replace('Z', '000Z')
