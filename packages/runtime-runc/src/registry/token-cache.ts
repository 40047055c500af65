// Tokens of registries, for as long as they say that they are good.

export interface TokenCache {
  get(key: string): string | undefined
  /** @param expiresAt milliseconds since the epoch */
  set(key: string, header: string, expiresAt: number): void
}

const mostTokens = 1000

/** @param now clock, milliseconds since the epoch */
export function createTokenCache(now: () => number = Date.now): TokenCache {
  const tokens = new Map<string, { header: string; expiresAt: number }>()
  return {
    get: (key) => {
      const found = tokens.get(key)
      if (!found || found.expiresAt > now()) return found?.header
      tokens.delete(key)
      return undefined
    },
    set: (key, header, expiresAt) => {
      tokens.delete(key) // so that the oldest stay first
      tokens.set(key, { header, expiresAt })
      for (const [old, token] of tokens) {
        if (token.expiresAt <= now() || tokens.size > mostTokens) tokens.delete(old)
      }
    },
  }
}
