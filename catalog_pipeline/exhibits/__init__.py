"""What people are shown of a store as pictures: contact sheet, histograms, map, neighbours."""
