// The package's `browser` field puts `sha256-in-browser.ts` in the place of this file.
import { hash } from 'node:crypto'

export const sha256 = (text: string): Uint8Array => hash('sha256', text, 'buffer')
