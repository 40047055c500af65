// Refused connections in the words that users of Kubernetes know. Pure.

const reasons: Record<string, string> = {
  ECONNREFUSED: 'connection refused',
  EHOSTUNREACH: 'no route to host',
  ENETUNREACH: 'network is unreachable',
  ETIMEDOUT: 'connection timed out',
  EADDRNOTAVAIL: 'cannot assign requested address',
}

/** @param address `HOST:PORT` */
export function dialError(error: unknown, address: string): string {
  const { code, message } = codeAndMessage(error)
  const reason = reasons[code]
  if (reason) return `dial tcp ${address}: connect: ${reason}`
  if (code === 'ENOTFOUND') return `dial tcp: lookup ${address.replace(/:\d+$/, '')}: no such host`
  if (message === 'socket hang up') return 'EOF'
  if (code === 'ECONNRESET') return `read tcp ${address}: read: connection reset by peer`
  if (isPlainAnswer(error)) return 'http: server gave HTTP response to HTTPS client'
  return message
}

/** Whether TLS was spoken to a server that does not. */
export function isPlainAnswer(error: unknown): boolean {
  const { code } = codeAndMessage(error)
  return ['ERR_SSL_WRONG_VERSION_NUMBER', 'ERR_SSL_PACKET_LENGTH_TOO_LONG', 'EPROTO'].includes(code)
}

function codeAndMessage(error: unknown): { code: string; message: string } {
  if (!(error instanceof Error)) return { code: '', message: String(error) }
  return { code: 'code' in error ? String(error.code) : '', message: error.message }
}
