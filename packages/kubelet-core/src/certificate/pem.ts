// PEM: base64 between lines that say what it is. Pure.

const block = /-----BEGIN ([A-Z0-9 ]+)-----\r?\n([\s\S]*?)-----END \1-----/g

/** The DER of each certificate. What is between blocks, and their headers, says nothing. @throws Error naming another block */
export function certificatesIn(text: string): Buffer[] {
  return [...text.matchAll(block)].map(([, type, body = '']) => {
    const base64 = body.replace(/^(.+:.*\r?\n)+\r?\n/, '').replaceAll(/\s/g, '')
    if (type === 'CERTIFICATE' && /^[A-Za-z0-9+/]+={0,2}$/.test(base64)) return Buffer.from(base64, 'base64')
    throw new Error(`a ${type} block is no certificate in PEM`)
  })
}

export function pemOf(type: string, der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? []
  return `-----BEGIN ${type}-----\n${lines.join('\n')}\n-----END ${type}-----\n`
}
