// Errors that users have heard of already, by an event of their own.

const told = new WeakSet<object>()

/** @returns the error, for a throw */
export function markTold<E>(error: E): E {
  if (typeof error === 'object' && error !== null) told.add(error)
  return error
}

export const isTold = (error: unknown): boolean => typeof error === 'object' && error !== null && told.has(error)
