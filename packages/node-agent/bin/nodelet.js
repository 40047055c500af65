#!/usr/bin/env -S node --max-semi-space-size=2
// Not in dist, so that npm can link it into a clone before there is a build. A small space for young objects keeps memory
// off the process when many pods start at once.
import { main } from '../dist/cli.js'

await main()
